"""What the sweep asks of the ledger: running attempts, lanes to wake, messages to finish, rows to forget.

Every query is bounded and goes through an index, so that a round costs the same with a million delivered rows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.ledger.port import Row, Tx

OVER_SECONDS = 10.0  # after its time-out an attempt is over: killing it takes a moment, and clocks differ a little
ROUND = 500  # rows of work a query may return in one round; the next round goes on


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """An attempt that the ledger believes to be running."""

    attempt_id: str
    delivery: int
    agent: str
    transport: str
    worker: str
    boot_id: str
    started_at: float
    timeout: float
    host: str
    start_by: float | None

    @property
    def must_be_over(self) -> float:
        """When it cannot run any more, whatever has become of its host (epoch seconds)."""
        return (self.start_by or self.started_at) + self.timeout + OVER_SECONDS


def register_worker(
    tx: Tx, worker: str, *, pid: int, boot_id: str, version: str, kind: str, now: float, host: str = ""
) -> None:
    """Write down that this worker process lives; `host`: where, in a fleet."""
    tx.execute(
        """
        insert into workers (id, pid, boot_id, version, kind, started_at, host, seen_at) values (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (worker, pid, boot_id, version, kind, now, host, now),
    )


def note_serves(
    tx: Tx, worker: str, serves: Mapping[str, Sequence[str]], needs_restart: Sequence[str], now: float
) -> None:
    """The worker has read its configuration: which agents it serves now, and by which transports.

    `status` compares it with the configuration. `needs_restart`: changed keys that it cannot take while it runs.
    """
    tx.execute(
        "update workers set serves = ?, needs_restart = ?, config_error = null, config_read_at = ? where id = ?",
        (json.dumps(serves), ", ".join(needs_restart) or None, now, worker),
    )


def note_config_error(tx: Tx, worker: str, error: str, now: float) -> None:
    """The configuration that is there cannot be used; the worker goes on with the one of before."""
    tx.execute("update workers set config_error = ?, config_read_at = ? where id = ?", (error, now, worker))


def note_sweep(tx: Tx, worker: str, now: float) -> None:
    """The worker swept: `status` and the watchdog look at this. Who sweeps lives, whatever others took it for."""
    tx.execute("update workers set swept_at = ?, stopped_at = null where id = ?", (now, worker))


def note_health(tx: Tx, worker: str, health: str) -> None:
    """What the worker's watchdog finds: `ok`, or what is wrong."""
    tx.execute("update workers set health = ? where id = ?", (health, worker))


def note_stop(tx: Tx, worker: str, now: float) -> None:
    """The worker stopped in good order, or was found dead."""
    tx.execute("update workers set stopped_at = ? where id = ? and stopped_at is null", (now, worker))


def unstopped_workers(db: Tx) -> list[Row]:
    """Workers that have not been seen to stop: alive, killed, or another process's."""
    return db.execute("select * from workers where stopped_at is null order by started_at").fetchall()


def last_sign(db: Tx) -> float | None:
    """When a worker was last seen to live; None: there was none.

    While nothing happens a worker writes rarely (worker/ledger/leases.py), so it may have lived a little longer.
    """
    seen = db.execute(
        """
        select max(started_at) as started, max(swept_at) as swept, max(stopped_at) as stopped,
               (select max(polled_at) from inboxes) as polled from workers
        """
    ).fetchone()
    return None if seen["started"] is None else max(when for when in seen if when is not None)


def was_stopped(db: Tx) -> bool:
    """Whether the worker that began last is known to have ended."""
    row = db.execute("select stopped_at from workers order by started_at desc limit 1").fetchone()
    return row is not None and row["stopped_at"] is not None


def forget_workers(tx: Tx, before: float) -> None:
    """Drop the rows of workers that stopped long ago and own no running attempt."""
    tx.execute(
        """
        delete from workers where stopped_at < ?
          and not exists (select 1 from deliveries d indexed by one_runs
                          join attempts a on a.id = d.attempt_id where d.state = 'running' and a.worker = workers.id)
        """,
        (before,),
    )


def running_attempts(db: Tx) -> list[RunningAttempt]:
    """All attempts that the ledger believes to be running; at most one a lane, whatever number of messages it has."""
    rows = db.execute(
        """
        select a.id, a.delivery, l.agent, l.transport, a.worker, a.boot_id, a.started_at, a.timeout, a.host, a.start_by
        from deliveries d indexed by one_runs
        join attempts a on a.id = d.attempt_id and a.delivery = d.id join lanes l on l.id = d.lane
        where d.state = 'running'
        """
    )
    return [RunningAttempt(*row) for row in rows]


def await_receipt(tx: Tx, attempt_id: str) -> None:
    """It was called unknown by another host than its own, which may tell more once it is back."""
    tx.execute("update attempts set late = 'awaited' where id = ?", (attempt_id,))


def clamp_next_at(tx: Tx, lane: int, latest: float) -> int:
    """Bring back times that a jumping clock put further away than any delay can be; returns how many."""
    changed = tx.execute(
        """
        update deliveries set next_at = :latest
        where id in (select id from deliveries indexed by deliveries_scheduled
                     where lane = :lane and state in ('waiting', 'retrying') and next_at > :latest limit :round)
        """,
        {"lane": lane, "latest": latest, "round": ROUND},
    )
    return changed.rowcount


def unfinished_messages(db: Tx) -> list[int]:
    """Open messages whose deliveries are all final: they only lack their finalizer."""
    rows = db.execute(
        """
        select m.id from messages m indexed by messages_open
        where m.state = 'open' and not exists
          (select 1 from deliveries d where d.message = m.id
             and d.state in ('waiting', 'running', 'retrying', 'held'))
        limit ?
        """,
        (ROUND,),
    )
    return [int(row["id"]) for row in rows]


def settled(db: Tx, attempt_ids: Sequence[str]) -> dict[str, str | None]:
    """Those of the attempts that are over, each with its worker (None: the ledger knows no such).

    One that another host called unknown is not, until its own has told how it ended: that is in its files.
    """
    done: dict[str, str | None] = {}
    for attempt_id in attempt_ids:
        row = db.execute(
            """
            select a.worker,
                   coalesce(a.late = 'awaited', false) or (d.state = 'running' and d.attempt_id = a.id) as running
            from attempts a join deliveries d on d.id = a.delivery where a.id = ?
            """,
            (attempt_id,),
        ).fetchone()
        if row is None or not row["running"]:
            done[attempt_id] = row["worker"] if row else None
    return done
