"""Moving a ledger to another place, whole and once: `bus-watch ledger move`.

First the one that goes is closed, then its rows and the mark of their arrival come in one transaction of the other,
then it is marked as gone. Killed in between, the same command goes on; its opposite takes back a move that has not
arrived.
"""

import secrets
from collections.abc import Callable
from typing import NamedTuple

from worker.errors import BusWatchError
from worker.ledger.copying import Copy, Told, empty
from worker.ledger.errors import LedgerMovedError
from worker.ledger.port import Ledger, Tx


class MoveRefusedError(BusWatchError):
    """The ledger cannot be moved as it is; nothing was changed."""

    code = "move_refused"


class Departure(NamedTuple):
    """That a ledger has moved, or (`done` is false) is on its way."""

    move: str
    place: str
    at: float
    done: bool


class Moved(NamedTuple):
    """What was moved: rows of each table, and how many of these the other ledger had already."""

    rows: dict[str, int]
    met: dict[str, int]


def departure(db: Tx) -> Departure | None:
    """Whether this ledger has moved."""
    row = db.execute("select move, place, at, done from departures").fetchone()
    return None if row is None else Departure(row["move"], row["place"], row["at"], bool(row["done"]))


def refuse_moved(db: Tx, here: str) -> None:
    """LedgerMovedError where this ledger has moved, or is on its way."""
    gone = departure(db)
    if gone is None:
        return
    if gone.done:
        raise LedgerMovedError(
            f"the ledger {here} has moved to {gone.place}: name that in the configuration (ledger_url_file), "
            "or bring it back with: bus-watch ledger move --back"
        )
    raise LedgerMovedError(
        f"the ledger {here} is being moved to {gone.place}; if nobody is at it any more, finish it with: "
        "bus-watch ledger move --to-file FILE, or take it back with: bus-watch ledger move --back"
    )


def arrived(db: Tx, move: str) -> bool:
    """Whether this move has come here."""
    return db.execute("select 1 from arrivals where move = ?", (move,)).fetchone() is not None


def is_empty(db: Tx) -> bool:
    """Whether nothing has ever come to this ledger."""
    return db.execute("select 1 from inboxes union all select 1 from messages limit 1").fetchone() is None


def depart(ledger: Ledger, place: str, now: float) -> Departure:
    """Close the ledger for everybody; one that is on its way already is left so.

    Raises MoveRefusedError: it has moved before, or something runs.
    """

    def operation(tx: Tx) -> Departure:
        gone = departure(tx)
        if gone is not None:
            if gone.done:
                raise MoveRefusedError(f"the ledger has moved to {gone.place} already")
            return gone
        refuse_what_runs(tx)
        new = Departure(secrets.token_hex(8), place, now, done=False)
        tx.execute("insert into departures (move, place, at) values (?, ?, ?)", (new.move, place, now))
        tx.close_for_good(f"this ledger is being moved to {place}")
        return new

    return ledger.write(operation)


def refuse_what_runs(db: Tx) -> None:
    """MoveRefusedError where something runs, or is being sent, for all that the ledger knows."""
    running = db.execute("select count(*) as number from deliveries where state = 'running'").fetchone()["number"]
    sending = db.execute("select count(*) as number from outbox where state = 'sending'").fetchone()["number"]
    if running or sending:
        what = " and ".join(
            words for number, words in ((running, f"{running} running"), (sending, f"{sending} being sent")) if number
        )
        raise MoveRefusedError(
            f"the ledger has {what}: start the worker, which settles them, and stop it once `bus-watch queue` "
            "shows none (bus-watch pause TRANSPORT keeps new ones from starting)"
        )


class Route(NamedTuple):
    """From where to where, without passwords; `host`: this one's name in the fleet, empty on the way into a file."""

    came_from: str
    goes_to: str
    host: str


def move(
    source: Ledger,
    target: Ledger,
    route: Route,
    *,
    now: float,
    told: Told = lambda _table, _rows: None,
    join: Callable[[Tx], None] = lambda _: None,
) -> Moved | None:
    """Move everything, in one transaction of the other; None where it had arrived, and only the mark was missing.

    What had moved away from `target` makes room. `join`: what else belongs into that transaction.

    Raises MoveRefusedError: the source has moved or something runs in it,
    or the target is on its way itself. LedgerError: it goes on when called again, or `take_back` undoes it.
    """
    target.read(_gone_for_good)
    gone = depart(source, route.goes_to, now)

    def arrive(db: Tx, tx: Tx) -> Moved | None:
        moved = _arrive(Copy(db, tx, route.host, told), gone.move, route.came_from, now)
        join(tx)
        return moved

    moved = source.read(lambda db: target.write(lambda tx: arrive(db, tx)))
    finish(source, gone)
    return moved


def _gone_for_good(db: Tx) -> Departure | None:
    """Where what was here went. MoveRefusedError: it is still on its way."""
    away = departure(db)
    if away is not None and not away.done:
        raise MoveRefusedError(f"the other ledger is itself being moved, to {away.place}: finish that first")
    return away


def _arrive(copy: Copy, move: str, came_from: str, now: float) -> Moved | None:
    tx = copy.target
    if arrived(tx, move):
        return None
    if _gone_for_good(tx) is not None:
        tx.reopen()
        empty(tx)
        tx.execute("delete from arrivals")
        tx.execute("delete from departures")
    copy.run()
    tx.execute("insert into arrivals (move, place, at) values (?, ?, ?)", (move, came_from, now))
    return Moved(copy.rows, copy.met)


def finish(ledger: Ledger, gone: Departure) -> None:
    """Write down that it has arrived."""

    def operation(tx: Tx) -> None:
        tx.execute("update departures set done = 1 where move = ?", (gone.move,))
        tx.reopen()
        tx.close_for_good(f"this ledger has moved to {gone.place}")

    ledger.write(operation)


def take_back(ledger: Ledger, gone: Departure) -> None:
    """Open the ledger again: its move has not arrived."""

    def operation(tx: Tx) -> None:
        tx.execute("delete from departures where move = ?", (gone.move,))
        tx.reopen()

    ledger.write(operation)
