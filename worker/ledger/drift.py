"""How often an agent was not as its profile or channel was measured, by agent and version; no text of any screen."""

from typing import NamedTuple

from worker.ledger.port import Tx

_KEPT = 50  # rows: versions come monthly, and a transport could make some up
_CHANNEL = " channel"  # behind the name, where it was not a screen; no profile's name has a space


class Drift(NamedTuple):
    """One UI in one version. Times are epoch seconds."""

    ui: str
    version: str
    times: int
    first_at: float
    last_at: float


def note(tx: Tx, ui: str, version: str, now: float, *, channel: bool = False) -> None:
    """One more unknown screen, or answer of a channel."""
    tx.execute(
        """
        insert into unknown_screens (ui, version, count, first_at, last_at) values (?, ?, 1, ?, ?)
        on conflict (ui, version) do update set count = unknown_screens.count + 1, last_at = excluded.last_at
        """,
        (ui + _CHANNEL if channel else ui, version, now, now),
    )
    tx.execute(
        """
        delete from unknown_screens where (ui, version) not in
          (select ui, version from unknown_screens order by last_at desc limit ?)
        """,
        (_KEPT,),
    )


def screens(db: Tx) -> list[Drift]:
    """Every UI with unknown screens, the latest first."""
    return [one for one in _all(db) if not one.ui.endswith(_CHANNEL)]


def channels(db: Tx) -> list[Drift]:
    """Every UI whose channel was not as it was measured, the latest first."""
    return [one._replace(ui=one.ui.removesuffix(_CHANNEL)) for one in _all(db) if one.ui.endswith(_CHANNEL)]


def _all(db: Tx) -> list[Drift]:
    rows = db.execute("select ui, version, count, first_at, last_at from unknown_screens order by last_at desc")
    return [Drift(*row) for row in rows]
