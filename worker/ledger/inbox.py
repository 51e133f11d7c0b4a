"""An inbox as its own agent reads it: what came since the message through which it has read.

There is no way to have read "all": what came meanwhile would be swallowed.
"""

from worker.ledger.errors import NoSuchMessageError
from worker.ledger.operate import find_message
from worker.ledger.port import Row, Tx


def unread(db: Tx, agent: str, limit: int) -> list[Row]:
    """The oldest messages that the agent has not read, whatever became of their deliveries; no notices of workers."""
    return db.execute(
        """
        select id, agent, stream, message_id, source, class, text, state, received_at from messages
        where agent = :agent and id > coalesce((select message from seen where agent = :agent), 0)
          and not (coalesce(class, '') = 'terminal-log' and text like '[% -> % class=terminal-log] bus-watch %')
        order by id limit :limit
        """,
        {"agent": agent, "limit": limit},
    ).fetchall()


def newest(db: Tx, agent: str) -> Row | None:
    """The last message that came to an agent from another."""
    row: Row | None = db.execute(
        """
        select * from messages indexed by messages_by_time
        where agent = ? and source like 'agent:%' and coalesce(class, '') <> 'terminal-log' order by ms desc, id desc
        limit 1
        """,
        (agent,),
    ).fetchone()
    return row


def read_through(tx: Tx, agent: str, key: str) -> None:
    """The agent has read up to this message. NoSuchMessageError: it is none of its messages."""
    message = find_message(tx, key)
    if tx.execute("select 1 from messages where id = ? and agent = ?", (message, agent)).fetchone() is None:
        raise NoSuchMessageError(f"{key} is no message to {agent}")
    tx.execute(
        """
        insert into seen (agent, message) values (?, ?)
        on conflict (agent) do update set message = excluded.message
        where excluded.message > seen.message
        """,
        (agent, message),
    )
