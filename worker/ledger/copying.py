"""All that one ledger knows, put into another: what `bus-watch ledger move` does.

Rows that count (messages, deliveries, ...) get new numbers behind those that are there; with an empty ledger they keep
theirs. Attempts keep their ids, which name files. What both ledgers know of becomes one: see each table's `meet`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker import delivery
from worker.delivery import MessageState, State
from worker.ledger.port import Row, Tx

ROWS = 1000  # that are held at a time

Told = Callable[[str, int], None]
"""Is told of each table how many rows of it have been copied so far."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its key, whether it is a number that others point to, and which columns point where.

    `meet`: what becomes of a row whose key is there already; SQL.
    """

    name: str
    key: tuple[str, ...]
    numbered: bool = False
    points: Mapping[str, str] = field(default_factory=dict)
    meet: str = ""


_THE_FIRST = "on conflict do nothing"

TABLES = (
    Table(
        "inboxes",
        ("agent",),
        # What either of them was to take is taken.
        meet="""
        on conflict (agent) do update set
          floor_ms = case when excluded.floor_ms < inboxes.floor_ms then excluded.floor_ms else inboxes.floor_ms end,
          imported = case when excluded.imported > inboxes.imported then excluded.imported else inboxes.imported end
        """,
    ),
    Table(
        "streams",
        ("agent", "stream"),
        meet="""
        on conflict (agent, stream) do update set floor_ms = excluded.floor_ms, floor_seq = excluded.floor_seq
        where (excluded.floor_ms, excluded.floor_seq) > (streams.floor_ms, streams.floor_seq)
        """,
    ),
    Table("imported", ("agent", "ms", "seq"), meet=_THE_FIRST),
    Table("skipped", ("agent", "ms", "seq", "stream"), meet=_THE_FIRST),
    Table("workers", ("id",), meet=_THE_FIRST),
    Table("lanes", ("id",), numbered=True),
    Table("messages", ("id",), numbered=True),
    Table(
        "deliveries",
        ("id",),
        numbered=True,
        points={"message": "messages", "lane": "lanes", "companion": "deliveries"},
    ),
    Table("attempts", ("id",), points={"delivery": "deliveries", "lane": "lanes"}, meet=_THE_FIRST),
    Table("companions", ("attempt", "delivery"), points={"delivery": "deliveries"}, meet=_THE_FIRST),
    Table("notices", ("message",), points={"message": "messages"}, meet=_THE_FIRST),
    Table(
        "seen",
        ("agent",),
        points={"message": "messages"},
        # Once more is better than never.
        meet="on conflict (agent) do update set message = excluded.message where excluded.message < seen.message",
    ),
    Table("outbox", ("id",), numbered=True),
    Table(
        "events",
        ("id",),
        numbered=True,
        points={"message": "messages", "delivery": "deliveries", "sent": "outbox"},
    ),
    Table(
        "unknown_screens",
        ("ui", "version"),
        meet="""
        on conflict (ui, version) do update set count = unknown_screens.count + excluded.count,
          first_at = case when excluded.first_at < unknown_screens.first_at
                     then excluded.first_at else unknown_screens.first_at end,
          last_at = case when excluded.last_at > unknown_screens.last_at
                    then excluded.last_at else unknown_screens.last_at end
        """,
    ),
    Table("alerts", ("condition", "about"), meet=_THE_FIRST),
)

_WHERE = frozenset({"workers", "attempts", "alerts", "lanes"})  # tables that say on which host


def empty(tx: Tx) -> None:
    """Take everything out of a ledger whose rows have moved away, before they come back."""
    for table in reversed(TABLES):
        tx.execute(f"delete from {table.name}")  # noqa: S608 - a constant


@dataclass(slots=True)
class Copy:
    """One copy from a moment of one ledger into a transaction of another.

    `host`: whose the rows are that were in a file; empty: the target is a file, and knows no hosts.
    """

    source: Tx
    target: Tx
    host: str
    told: Told = lambda _table, _rows: None
    rows: dict[str, int] = field(default_factory=dict)  # copied, of each table
    met: dict[str, int] = field(default_factory=dict)  # of these, those that the target had already
    _offsets: dict[str, int] = field(default_factory=dict)
    _instead: dict[str, dict[int, int]] = field(default_factory=dict)  # numbers of rows that are there already
    _shared: frozenset[str] = frozenset()  # agents that both know

    def run(self) -> None:
        """Copy all tables. Raises what the transactions raise."""
        self._shared = _agents(self.source) & _agents(self.target)
        for table in TABLES:
            self.rows[table.name], self._instead[table.name] = 0, {}
            if table.numbered:
                self._offsets[table.name] = self.target.reserve(table.name, _largest(self.source, table.name))
            with self.target.without_events():
                for batch in _batches(self.source, table):
                    self._put(table, batch)
                    self.rows[table.name] += len(batch)
                    self.told(table.name, self.rows[table.name])
        for message in self._instead["messages"].values():
            _settle(self.target, message)

    def _put(self, table: Table, batch: list[Row]) -> None:
        columns = list(batch[0].keys())
        rows = [moved for row in batch if (moved := self._renumbered(table, dict(zip(columns, row, strict=True))))]
        marks = ", ".join("?" * len(columns))
        self.target.executemany(
            f"insert into {table.name} ({', '.join(columns)}) values ({marks}) {table.meet}",  # noqa: S608 - our names
            [list(row.values()) for row in rows],
        )

    def _renumbered(self, table: Table, row: dict[str, Any]) -> dict[str, Any] | None:
        """The row as the target numbers it; None where it has become one with a row that is there."""
        for column, pointed_at in table.points.items():
            if row[column] is not None and pointed_at != table.name:
                row[column] = self._number(pointed_at, row[column])
        if table.name in _WHERE:
            row |= self._placed(row)
        if not table.numbered:
            return row
        found = self._there(table.name, row)
        if found is not None:
            self._instead[table.name][row["id"]] = found
            self.met[table.name] = self.met.get(table.name, 0) + 1
            return None
        row["id"] = self._number(table.name, row["id"])
        for column, pointed_at in table.points.items():
            if pointed_at == table.name and row[column]:
                row[column] = self._number(table.name, row[column])
        return row

    def _placed(self, row: dict[str, Any]) -> dict[str, Any]:
        """Where it was, as the target says it."""
        if self.host:
            return {"host": row["host"] or self.host}
        if "moving_to" in row:  # a lane
            return {"host": None, "run_on": None, "moving_to": None}
        return {"host": ""}

    def _number(self, table: str, number: int) -> int:
        return self._instead[table].get(number, number + self._offsets[table])

    def _there(self, table: str, row: dict[str, Any]) -> int | None:
        """The number of the target's row for the same thing."""
        match table:
            case "lanes":
                return _lane_there(self.target, row)
            case "messages" if row["agent"] in self._shared:
                return _message_there(self.target, row)
            case "deliveries" if row["message"] in self._instead["messages"].values():
                return _delivery_there(self.target, row)
        return None


def _batches(db: Tx, table: Table) -> Iterator[list[Row]]:
    """All rows of a table in the order of its key."""
    key = ", ".join(table.key)
    marks = ", ".join("?" * len(table.key))
    after: list[Any] = []
    while True:
        where = f"where ({key}) > ({marks})" if after else ""
        rows = db.execute(
            f"select * from {table.name} {where} order by {key} limit {ROWS}",  # noqa: S608 - our names
            after,
        ).fetchall()
        if not rows:
            return
        yield rows
        after = [rows[-1][column] for column in table.key]


def _agents(db: Tx) -> frozenset[str]:
    return frozenset(
        str(row["agent"]) for row in db.execute("select agent from inboxes union select agent from messages")
    )


def _largest(db: Tx, table: str) -> int:
    row = db.execute(f"select max(id) as id from {table}").fetchone()  # noqa: S608 - our name
    return int(row["id"] or 0)


# -- what both ledgers know of -----------------------------------------------------------------------------------------


def _lane_there(tx: Tx, row: dict[str, Any]) -> int | None:
    """The same lane; it is paused if either is."""
    found = tx.execute(
        "select id from lanes where agent = ? and transport = ?", (row["agent"], row["transport"])
    ).fetchone()
    if found is None:
        return None
    if row["paused"]:
        tx.execute("update lanes set paused = 1 where id = ?", (found["id"],))
    return int(found["id"])


def _message_there(tx: Tx, row: dict[str, Any]) -> int | None:
    found = tx.execute(
        "select id from messages where agent = ? and stream = ? and ms = ? and seq = ?",
        (row["agent"], row["stream"], row["ms"], row["seq"]),
    ).fetchone()
    return None if found is None else int(found["id"])


# Of two deliveries of one message in one lane: what was done is done, what a person must see is seen, what may still be
# done is tried; else both have given up.
_WEIGHT = {
    State.RUNNING: 6,
    State.SUCCEEDED: 5,
    State.HELD: 4,
    State.RETRYING: 3,
    State.WAITING: 2,
    State.DEAD: 1,
    State.CANCELLED: 0,
}
_CARRIED = ("state", "attempt_id", "burnt", "frees", "voids", "next_at", "cancel", "reason", "ended_at", "renewed_at")


def _delivery_there(tx: Tx, row: dict[str, Any]) -> int | None:
    tx.lock_lanes([row["lane"]])
    found = tx.execute(
        "select id, state, starts from deliveries where message = ? and lane = ?", (row["message"], row["lane"])
    ).fetchone()
    if found is None:
        return None
    if _WEIGHT[State(row["state"])] > _WEIGHT[State(found["state"])]:
        tx.execute(
            f"update deliveries set {', '.join(f'{name} = ?' for name in _CARRIED)}, woken_at = null where id = ?",  # noqa: S608 - our names
            [*(row[name] for name in _CARRIED), found["id"]],
        )
    if row["starts"] > found["starts"]:
        tx.execute("update deliveries set starts = ? where id = ?", (row["starts"], found["id"]))
    return int(found["id"])


def _settle(tx: Tx, message: int) -> None:
    """The state of a message whose deliveries have met others."""
    tx.lock_message(message)
    states = [State(row["state"]) for row in tx.execute("select state from deliveries where message = ?", (message,))]
    if not states:
        return
    outcome = delivery.message_outcome(states)
    if outcome is MessageState.OPEN:
        tx.execute("update messages set state = ?, finished_at = null where id = ?", (outcome, message))
    else:
        tx.execute(
            """
            update messages set state = ?, finished_at = coalesce(finished_at,
              (select max(d.ended_at) from deliveries d where d.message = messages.id)) where id = ?
            """,
            (outcome, message),
        )
