"""Alerts, a part of the sweep: people are told once when a condition begins to hold, and once when it is over.

The conditions are those of `status`. A telling is a message in the ledger with a delivery for each channel, written in
the transaction that opens or closes the alert: from there on it is what every other delivery is (docs/alerts.md).
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from worker.alert_settings import ALERTS, ChannelSettings
from worker.conditions import Condition
from worker.doctor.troubles import STALE_SWEEP_SECONDS, Trouble, left_over, low_disk, troubles
from worker.engine.wake_ups import WakeUps
from worker.fault_steps import step
from worker.ledger import alerts, report, upkeep
from worker.ledger.alerts import OpenAlert
from worker.ledger.lanes import Wake
from worker.ledger.living import living_workers
from worker.ledger.port import Ledger, Tx
from worker.ledger.sweep_signal import send_sweep_signal
from worker.settings import Settings
from worker.times import minute, span, stamp

LOOK_SECONDS = 10.0
ABSENT_SECONDS = STALE_SWEEP_SECONDS  # so long without a worker is worth a word: a restart takes seconds
MOST_SINGLY = 3  # tellings of one condition at a time
MOST_NAMED = 5
LONGEST_SUMMARY = 1000  # characters
TEXT_SHOWN = 500  # characters of a message that go along where a channel asks for them

Key = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Alerter:
    """Opens and closes alerts for one worker; where several work on a ledger, one of them does."""

    db: Ledger
    wake_ups: WakeUps
    clock: Callable[[], float]
    redact: Callable[[str], str]
    worker: str = ""
    host: str = ""  # of a fleet: each host looks after what is its own
    look_seconds: float = field(default_factory=lambda: LOOK_SECONDS)
    _looked: float = field(default_factory=time.monotonic)  # which stands still while the machine sleeps
    _due: float = field(default=float("-inf"))  # monotonic seconds
    _asked: bool = False  # for signs of life, at the last look

    def round(self) -> None:
        """Look, if it is time to, and write down what has changed. LedgerError."""
        settings = self.wake_ups.lanes.settings
        if not settings.alerts.channels:
            self._looked = time.monotonic()
        if not settings.alerts.channels or time.monotonic() < self._due:
            return
        now = self.clock()
        if time.monotonic() - self._looked > ABSENT_SECONDS:
            self.wake_ups.send(self.db.write(lambda tx: self._was_absent(tx, settings, now)))
        self._looked = time.monotonic()
        self._due = self._looked + self.look_seconds
        holding = self._asked_first(self.db.read(lambda db: _holding(db, settings, now, self.host)), settings)
        known = self.db.read(lambda db: self._known(db, settings, now))
        if not list(_changes(holding, known, settings.alerts.close_after, now)):
            return
        self.wake_ups.send(self.db.write(lambda tx: self._write(tx, settings, holding, now)))
        step("alerted")

    def _asked_first(self, holding: dict[Key, Trouble], settings: Settings) -> dict[Key, Trouble]:
        """The same, but that it is silent where nobody was asked to speak is no reason to tell anybody."""
        silent = [key for key, trouble in holding.items() if trouble.is_silence]
        was_asked, self._asked = self._asked, bool(silent)
        if silent:
            send_sweep_signal(settings.files_dir)
        if was_asked:
            return holding
        return {key: trouble._replace(is_new=trouble.is_new or trouble.is_silence) for key, trouble in holding.items()}

    def _was_absent(self, tx: Tx, settings: Settings, now: float) -> list[Wake]:
        """This worker sweeps again; what it tells is a sign of its life, too, so that whoever follows tells nothing."""
        lanes = _tell_absence(tx, settings, now, why="it hung, was stopped, or could not write its ledger")
        upkeep.note_sweep(tx, self.worker, now)
        return self.wake_ups.mark(tx, lanes, only_new=True)

    def begin(self, tx: Tx, settings: Settings, now: float) -> None:
        """A worker is about to be written down: was there none before it? Its first sweep wakes the lanes."""
        if not living_workers(tx, settings):
            stopped = upkeep.was_stopped(tx)
            why = "it was stopped" if stopped else "it was killed, or this machine went down"
            _tell_absence(tx, settings, now, why=why)

    def _write(self, tx: Tx, settings: Settings, holding: dict[Key, Trouble], now: float) -> list[Wake]:
        tellings: list[Telling] = []
        for change in list(_changes(holding, self._known(tx, settings, now), settings.alerts.close_after, now)):
            match change:
                case Trouble():
                    opened = _opened(tx, change, self.redact, now)
                    if alerts.open_one(tx, change.condition, change.about, opened.summary, now, self.host):
                        tellings.append(opened)
                case _Clear(one, since):
                    alerts.note_clear(tx, one, since)
                case OpenAlert():
                    if alerts.close_one(tx, change):
                        tellings.append(_closed(change, now))
        return self.wake_ups.mark(tx, _put(tx, settings, tellings, now), only_new=True)

    def _known(self, db: Tx, settings: Settings, now: float) -> list[OpenAlert]:
        return alerts.every(db, self.host, now - settings.host_lost_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What people are told. `detail` is for channels that ask for it; `abouts`: whose it is, where it is several's."""

    event: Literal["opened", "closed"]
    condition: str
    about: str
    summary: str
    opened_at: float
    detail: str = ""
    abouts: tuple[str, ...] = ()

    def text(self, now: float) -> str:
        """As its channels get it: a line for people, then one of JSON."""
        facts = {
            "event": self.event,
            "condition": self.condition,
            "about": self.about,
            "abouts": self.abouts or (self.about,),
            "summary": self.summary,
            "detail": self.detail,
            "host": socket.gethostname(),
            "at": stamp(now),
            "opened_at": stamp(self.opened_at),
            "alert": f"{self.condition} {self.about} {int(self.opened_at * 1000)}",
        }
        return f"{self.event}: {self.summary}\n{json.dumps(facts, ensure_ascii=False)}"


def _gathered(tellings: list[Telling]) -> Iterator[Telling]:
    """The same, those of one condition in one where they are many: a bus that is down is down for all its agents."""
    groups: dict[tuple[str, str], list[Telling]] = {}
    for one in tellings:
        own = one.about if one.about.startswith(f"{ALERTS} ") else ""  # of a channel: each is told by the others
        groups.setdefault((one.event, one.condition + own), []).append(one)
    for group in groups.values():
        if len(group) <= MOST_SINGLY:
            yield from group
            continue
        first, abouts = group[0], tuple(one.about for one in group)
        names = ", ".join(abouts[:MOST_NAMED]) + (
            f" and {len(abouts) - MOST_NAMED} more" if abouts[MOST_NAMED:] else ""
        )
        over = " is over" if first.event == "closed" else ""
        yield Telling(
            event=first.event,
            condition=first.condition,
            about=names,
            summary=f"{first.condition}{over}, {len(abouts)} at once: {names}. The first: {first.summary}",
            opened_at=min(one.opened_at for one in group),
            abouts=abouts,
        )


def _tell_absence(tx: Tx, settings: Settings, now: float, *, why: str) -> dict[int, None]:
    """Tell, once, of a time in which there was no worker, where it was long; the lanes that have something to do."""
    sign = upkeep.last_sign(tx)
    if sign is None or now - sign <= ABSENT_SECONDS:
        return {}
    words = f"no worker ran from {minute(sign)} to {minute(now)}, for {span(now - sign)}: {why}. One runs again"
    told = Telling(event="closed", condition=Condition.WORKER_GONE, about="", summary=words, opened_at=sign)
    return _put(tx, settings, [told], now)


def _put(tx: Tx, settings: Settings, tellings: list[Telling], now: float) -> dict[int, None]:
    """Write them down, each for the channels that tell of it; the lanes that have something to do."""
    lanes: dict[int, None] = {}
    for telling in _gathered(tellings):
        channels = [one.name for one in settings.alerts.channels if _tells(one, telling)]
        if channels:
            lanes |= dict.fromkeys(alerts.put(tx, ALERTS, channels, telling.text(now), now))
    return lanes


@dataclass(frozen=True, slots=True)
class _Clear:
    """An open alert whose condition does not hold since then; None: it holds again."""

    one: OpenAlert
    since: float | None


def _is_of_a_worker(trouble: Trouble) -> bool:
    """And not of a host as a whole, which all others see."""
    return trouble.condition is Condition.WORKER_SILENT and not trouble.about.startswith("host ")


def _holding(db: Tx, settings: Settings, now: float, host: str) -> dict[Key, Trouble]:
    """The conditions that hold: what `status` says, and of each lane by itself what it says of all together.

    `host`: in a fleet only those of its own lanes and workers. What is about no lane and no agent has its name then.
    """
    lanes, workers = report.lanes(db), living_workers(db, settings)
    if host:
        lanes = [lane for lane in lanes if lane.host == host]
        workers = [row for row in workers if row["host"] == host]
    found = [
        *troubles(db, settings, workers, lanes, now),
        *(trouble for lane in lanes for trouble in left_over([lane])),
        *low_disk(settings.ledger_file),
    ]
    holding: dict[Key, Trouble] = {}
    for trouble in found:
        if host and (not trouble.about or _is_of_a_worker(trouble)):
            trouble = trouble._replace(about=f"{host} {trouble.about}".strip())  # noqa: PLW2901 - the same one
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


def _tells(channel: ChannelSettings, one: Telling) -> bool:
    """Whether a channel tells of this: never of itself, which could not be told by it and would not end."""
    if one.about == f"{ALERTS} {channel.name}":
        return False
    return channel.conditions is None or one.condition in channel.conditions


def _opened(db: Tx, trouble: Trouble, redact: Callable[[str], str], now: float) -> Telling:
    detail = redact(trouble.words)
    text = None if trouble.delivery is None else alerts.text_of(db, trouble.delivery)
    if text:
        detail += "\n\n" + redact(text)[:TEXT_SHOWN]
    return Telling(
        event="opened",
        condition=str(trouble.condition),
        about=trouble.about,
        summary=_one_line(redact(trouble.quotes_nothing)),
        detail=detail,
        opened_at=now,
    )


def _one_line(text: str) -> str:
    """A bus's answer and a sender's name are in some of them: neither ends a line, or turns its direction."""
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST_SUMMARY]


def _closed(one: OpenAlert, now: float) -> Telling:
    lasted = span((one.clear_since or now) - one.opened_at)
    return Telling(
        event="closed",
        condition=one.condition,
        about=one.about,
        summary=f"{one.condition} is over after {lasted}. It was: {one.said}",
        opened_at=one.opened_at,
    )
