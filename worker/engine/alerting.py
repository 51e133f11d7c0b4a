"""Alerts, a part of the sweep: people are told once when a condition begins to hold, and once when it is over.

The conditions are those of `status`. A telling is a message in the ledger with a delivery for each channel, written in
the transaction that opens or closes the alert: from there on it is what every other delivery is (docs/alerts.md).
"""

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from worker.alert_settings import ALERTS, AlertSettings, ChannelSettings
from worker.doctor.troubles import Trouble, left_over, low_disk, troubles
from worker.engine.wake_ups import WakeUps
from worker.fault_steps import step
from worker.ledger import alerts, report
from worker.ledger.alerts import OpenAlert
from worker.ledger.database import Database
from worker.ledger.lanes import Wake
from worker.ledger.living import living_workers
from worker.settings import Settings
from worker.times import span, stamp

LOOK_SECONDS = 10.0
TEXT_SHOWN = 500  # characters of a message that go along where a channel asks for them

Key = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Alerter:
    """Opens and closes alerts for one worker; where several work on a ledger, one of them does."""

    db: Database
    wake_ups: WakeUps
    clock: Callable[[], float]
    redact: Callable[[str], str]
    look_seconds: float = LOOK_SECONDS
    _due: float = field(default=float("-inf"))  # monotonic seconds

    def round(self) -> None:
        """Look, if it is time to, and write down what has changed. LedgerError."""
        settings = self.wake_ups.lanes.settings
        if not settings.alerts.channels or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self.look_seconds
        now = self.clock()
        holding = self.db.read(lambda db: _holding(db, settings, now))
        known = self.db.read(alerts.every)
        if not list(_changes(holding, known, settings.alerts.close_after, now)):
            return
        self.wake_ups.send(self.db.write(lambda tx: self._write(tx, settings, holding, now)))
        step("alerted")

    def _write(self, tx: sqlite3.Connection, settings: Settings, holding: dict[Key, Trouble], now: float) -> list[Wake]:
        wakes: list[Wake] = []
        for change in list(_changes(holding, alerts.every(tx), settings.alerts.close_after, now)):
            match change:
                case Trouble():
                    said = self.redact(change.quotes_nothing)
                    alerts.open_one(tx, change.condition, change.about, said, now)
                    wakes += self._tell(tx, settings.alerts, _opened(tx, change, said, self.redact), change, now)
                case _Clear(one, since):
                    alerts.note_clear(tx, one, since)
                case OpenAlert():
                    alerts.close_one(tx, change)
                    wakes += self._tell(tx, settings.alerts, _closed(change, now), change, now)
        return wakes

    def _tell(
        self,
        tx: sqlite3.Connection,
        settings: AlertSettings,
        what: dict[str, str],
        one: Trouble | OpenAlert,
        now: float,
    ) -> list[Wake]:
        channels = [channel.name for channel in settings.channels if _tells(channel, one)]
        if not channels:
            return []
        opened_at = now if isinstance(one, Trouble) else one.opened_at
        text = message_text(what, str(one.condition), one.about, opened_at=opened_at, now=now)
        return self.wake_ups.mark(tx, alerts.put(tx, ALERTS, channels, text, now), only_new=True)


def message_text(what: dict[str, str], condition: str, about: str, *, opened_at: float, now: float) -> str:
    """A telling as its channels get it: a line for people, then one of JSON.

    `what` has `event` (`opened`, `closed`), `summary`, and perhaps `detail`, for channels that ask for it.
    """
    facts = {
        **what,
        "condition": condition,
        "about": about,
        "host": socket.gethostname(),
        "at": stamp(now),
        "opened_at": stamp(opened_at),
        "alert": f"{condition} {about} {int(opened_at * 1000)}",
    }
    return f"{what['event']}: {what['summary']}\n{json.dumps(facts, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class _Clear:
    """An open alert whose condition does not hold since then; None: it holds again."""

    one: OpenAlert
    since: float | None


def _holding(db: sqlite3.Connection, settings: Settings, now: float) -> dict[Key, Trouble]:
    """The conditions that hold: what `status` says, and of each lane by itself what it says of all together."""
    lanes = report.lanes(db)
    found = [
        *troubles(db, settings, living_workers(db, settings), lanes, now),
        *(trouble for lane in lanes for trouble in left_over([lane])),
        *low_disk(settings.ledger_file),
    ]
    holding: dict[Key, Trouble] = {}
    for trouble in found:
        holding.setdefault((trouble.condition, trouble.about), trouble)
    return holding


def _changes(
    holding: dict[Key, Trouble], known: list[OpenAlert], close_after: float, now: float
) -> Iterator[Trouble | _Clear | OpenAlert]:
    """What is to be opened (a trouble), noted, or closed (an open alert)."""
    before = {(one.condition, one.about) for one in known}
    for one in known:
        if (one.condition, one.about) in holding:
            if one.clear_since is not None:
                yield _Clear(one, None)
        # A clock that was set back must not keep it open for as long as the jump was.
        elif one.clear_since is None or one.clear_since > now:
            yield _Clear(one, now) if close_after else one
        elif now - one.clear_since >= close_after:
            yield one
    yield from (trouble for key, trouble in holding.items() if key not in before and not trouble.is_new)


def _tells(channel: ChannelSettings, one: Trouble | OpenAlert) -> bool:
    """Whether a channel tells of this: never of itself, which could not be told by it and would not end."""
    if one.about == f"{ALERTS} {channel.name}":
        return False
    return channel.conditions is None or one.condition in channel.conditions


def _opened(db: sqlite3.Connection, trouble: Trouble, said: str, redact: Callable[[str], str]) -> dict[str, str]:
    """What a person is told; `detail` is for channels that asked for it."""
    detail = redact(trouble.words)
    text = None if trouble.delivery is None else alerts.text_of(db, trouble.delivery)
    if text:
        detail += "\n\n" + redact(text)[:TEXT_SHOWN]
    return {"event": "opened", "summary": said, "detail": detail}


def _closed(one: OpenAlert, now: float) -> dict[str, str]:
    lasted = span((one.clear_since or now) - one.opened_at)
    return {"event": "closed", "summary": f"{one.condition} is over after {lasted}. It was: {one.said}"}
