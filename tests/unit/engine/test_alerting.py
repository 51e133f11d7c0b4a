"""When an alert opens and when it closes: on a real ledger, whose conditions and clock are in the test's hand."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.inbox import message
from worker import __version__
from worker.alert_settings import ALERTS, AlertSettings, ChannelSettings
from worker.engine.alerting import Alerter
from worker.engine.lane_lookup import LaneLookup
from worker.engine.wake_ups import WakeUps
from worker.ledger import alerts, disk, intake
from worker.ledger.port import Ledger
from worker.ledger.settling import Settled
from worker.ledger.sqlite import SqliteLedger
from worker.ledger.sweep_signal import stamp
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.transports.locks import hold_lock, worker_lock

Open = Callable[[Path], Ledger]

NOON = 1_795_300_000.0
CLOSE_AFTER = 120.0


class Watch:
    """An alerter that looks whenever it is asked to, and what it has told."""

    def __init__(self, home: Path, *channels: dict[str, Any], open_ledger: Open = SqliteLedger) -> None:
        self.now = NOON
        self.told_lanes: list[int] = []
        transport = TransportSettings(name="t", command=("/bin/true",))
        self.settings = Settings(
            agents=(AgentSettings(agent="bob", transports=(transport,)),),
            state_path=str(home / "ledger.db"),
            alerts=AlertSettings(
                channels=tuple(ChannelSettings(**one) for one in channels or ({"name": "desk", "type": "desktop"},)),
                close_after=CLOSE_AFTER,
            ),
        )
        self.db = open_ledger(self.settings.ledger_file)
        self.alerter = self.another()
        self.sql("insert into lanes (agent, transport) values ('bob', 't')")

    def another(self) -> Alerter:
        """The same of another worker, or of this one after a restart."""
        wake_ups = WakeUps(self, LaneLookup(self.settings), lambda: self.now)
        return Alerter(
            db=self.db,
            wake_ups=wake_ups,
            clock=lambda: self.now,
            redact=lambda text: text.replace("s3cret", "***"),
            worker="us",
            look_seconds=0.0,
        )

    def worker(self, name: str, *, swept: float, started: float = 86400.0) -> None:
        """A worker's row: when it began and when it last swept, in seconds before now."""
        query = (
            "insert into workers (id, pid, boot_id, version, kind, started_at, swept_at) values (?, 7, '', ?, ?, ?, ?)"
        )
        self.sql(query, name, __version__, "consumer", self.now - started, self.now - swept)

    def begin(self) -> list[str]:
        """A worker begins, as Engine.register does it; all that was told until now."""
        self.db.write(lambda tx: self.alerter.begin(tx, self.settings, self.now))
        return [one["summary"] for one in self.told]

    def held_lock(self, worker: str) -> int:
        """That worker lives."""
        self.settings.files_dir.mkdir(exist_ok=True)
        return hold_lock(worker_lock(self.settings.files_dir, worker))

    def deliver(self, delivery: int, at: float | None) -> None:
        self.told_lanes.append(delivery)

    def finalize(self, message: int) -> None: ...

    def may_claim_next(self, seconds: float, after: Settled) -> bool:
        return False

    def sql(self, statement: str, *values: object) -> None:
        self.db.write(lambda tx: tx.execute(statement, values))

    def rows(self, query: str) -> list[Any]:
        return self.db.read(lambda db: db.execute(query).fetchall())

    def broken(self, since: float = 0.0) -> None:
        """Nobody has been there for so long."""
        self.sql("update lanes set broken_since = ?, broken_reason = 'exit 69: hello s3cret'", self.now - since)

    def mended(self) -> None:
        self.sql("update lanes set broken_since = null, broken_reason = null")

    def look(self, seconds: float = 0.0) -> list[str]:
        """Time goes by, and the alerter looks; all that was told until now, as `opened stuck bob t`."""
        self.now += seconds
        self.alerter.round()
        return [f"{one['event']} {one['condition']} {one['about']}" for one in self.told]

    @property
    def told(self) -> list[dict[str, Any]]:
        texts = self.rows(f"select text from messages where agent = '{ALERTS}' order by ms, seq")
        return [json.loads(row["text"].partition("\n")[2]) for row in texts]

    def lanes_of(self, event: str) -> set[str]:
        """The channels that were told of the first such event."""
        query = f"""
            select l.transport from deliveries d join lanes l on l.id = d.lane
            where d.message = (select min(id) from messages where agent = '{ALERTS}' and text like '{event}%')
        """
        return {row["transport"] for row in self.rows(query)}


@pytest.fixture
def watch(tmp_path: Path, open_ledger: Open) -> Iterator[Watch]:
    made = Watch(tmp_path, open_ledger=open_ledger)
    yield made
    made.db.close()


def test_it_opens_once_and_closes_once(watch: Watch) -> None:
    assert watch.look() == []
    watch.broken(since=301)
    assert watch.look() == ["opened stuck bob t"]
    assert watch.look(3600) == ["opened stuck bob t"]
    assert len(watch.told_lanes) == 1
    watch.mended()
    assert watch.look(10) == ["opened stuck bob t"]
    assert watch.look(CLOSE_AFTER - 1) == ["opened stuck bob t"]
    assert watch.look(1) == ["opened stuck bob t", "closed stuck bob t"]
    assert watch.look(3600) == ["opened stuck bob t", "closed stuck bob t"]
    opened, closed = watch.told
    assert opened["alert"] == closed["alert"]
    assert "is over after 60 min. It was: bob t: nobody there since 5 min" in closed["summary"]


def test_what_has_only_begun_calls_nobody(watch: Watch) -> None:
    watch.broken()
    assert watch.look() == []
    assert watch.look(299) == []
    assert watch.look(2) == ["opened stuck bob t"]


def test_a_condition_that_flaps_is_one_alert(watch: Watch) -> None:
    for _ in range(50):
        watch.broken(since=400)
        watch.look(CLOSE_AFTER * 0.3)
        watch.mended()
        watch.look(CLOSE_AFTER * 0.3)
        assert watch.look(CLOSE_AFTER * 0.6) == ["opened stuck bob t"]
    assert watch.look(CLOSE_AFTER) == ["opened stuck bob t", "closed stuck bob t"]
    watch.broken(since=400)
    assert watch.look(1)[2:] == ["opened stuck bob t"]


@pytest.mark.parametrize("rounds", [1, 4])
def test_a_restart_at_any_round_changes_nothing(watch: Watch, rounds: int) -> None:
    """Nothing is kept in memory: a new alerter each few rounds, and two at a time."""
    for turn in range(24):
        if turn == 4:
            watch.broken(since=400)
        if turn == 12:
            watch.mended()
        if turn % rounds == 0:
            watch.alerter = watch.another()
        watch.another().round()
        watch.look(CLOSE_AFTER / 4)
    assert watch.look() == ["opened stuck bob t", "closed stuck bob t"]


def test_a_clock_that_is_set_back_keeps_nothing_open(watch: Watch) -> None:
    watch.broken(since=400)
    watch.look()
    watch.mended()
    watch.look(10)
    assert watch.look(-86400) == ["opened stuck bob t"]
    told = watch.look(CLOSE_AFTER)
    assert told == ["opened stuck bob t", "closed stuck bob t"]


def _with_token_refused(watch: Watch) -> None:
    def refuse(tx: Any) -> None:
        intake.ensure_inbox(tx, "bob", 0)
        intake.poll_failed(tx, "bob", watch.now, "no such token", 1.0, code="bus-unauthorized")

    watch.db.write(refuse)
    watch.db.write(refuse)


def _with(state: str) -> Callable[[Watch], None]:
    def put(watch: Watch) -> None:
        watch.db.write(lambda tx: intake.take_in(tx, "bob", [message(5)], lambda _: (None, ["t"]), watch.now - 5))
        watch.sql("update deliveries set state = ?, ended_at = 1", state)

    return put


def _with_drift(watch: Watch) -> None:
    watch.sql("insert into unknown_screens values ('codex', '0.172.0', 3, ?, ?)", watch.now - 60, watch.now)


def _stuck(watch: Watch) -> None:
    watch.db.write(lambda tx: intake.take_in(tx, "bob", [message(5)], lambda _: (None, ["t"]), watch.now - 301))


@pytest.mark.parametrize(
    ("breaks", "mends", "name"),
    [
        (_stuck, "update deliveries set state = 'succeeded'", "stuck bob t"),
        (_with("dead"), "update deliveries set state = 'cancelled'", "dead bob t"),
        (_with("held"), "update deliveries set state = 'cancelled'", "held bob t"),
        (
            _with_token_refused,
            "update inboxes set error = null, error_code = null, polled_at = 1e12",
            "token-refused bob",
        ),
        (_with_drift, "delete from unknown_screens", "drifted codex 0.172.0"),
    ],
    ids=["stuck", "dead", "held", "token", "drift"],
)
def test_every_condition_opens_and_closes(watch: Watch, breaks: Callable[[Watch], None], mends: str, name: str) -> None:
    watch.look()
    breaks(watch)
    assert watch.look() == [f"opened {name}"]
    watch.sql(
        mends + (f" where lane not in (select id from lanes where agent = '{ALERTS}')" if "deliv" in mends else "")
    )
    watch.look(1)
    assert watch.look(CLOSE_AFTER) == [f"opened {name}", f"closed {name}"]


def test_a_full_disk_and_a_silent_worker(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    free = disk.free_bytes
    monkeypatch.setattr(disk, "free_bytes", lambda _: 9 * 2**20)
    assert watch.look() == ["opened disk-low "]
    monkeypatch.setattr(disk, "free_bytes", free)
    watch.look(1)
    assert watch.look(CLOSE_AFTER)[1:] == ["closed disk-low "]


def test_no_text_goes_along_unless_it_is_asked_for(watch: Watch) -> None:
    watch.sql("update lanes set broken_since = null")
    _stuck(watch)
    watch.sql("update messages set text = 'the secret plan of s3cret'")
    watch.sql("update deliveries set state = 'retrying', starts = 2, reason = 'exit 1: cannot type the secret plan'")
    watch.look()
    (told,) = watch.told
    assert "secret plan" not in json.dumps({key: value for key, value in told.items() if key != "detail"})
    assert "the secret plan of ***" in told["detail"]
    assert "s3cret" not in json.dumps(told)
    first_line = watch.rows(f"select text from messages where agent = '{ALERTS}'")[0]["text"].partition("\n")[0]
    assert "secret plan" not in first_line


def test_each_channel_tells_of_what_it_is_for(tmp_path: Path) -> None:
    watch = Watch(
        tmp_path,
        {"name": "all", "type": "desktop"},
        {"name": "stuck", "type": "desktop", "conditions": ["stuck", "dead"]},
        {"name": "disk", "type": "desktop", "conditions": ["disk-low"]},
    )
    watch.broken(since=400)
    watch.look()
    watch.mended()
    watch.look(1)
    watch.look(CLOSE_AFTER)
    assert watch.lanes_of("opened") == watch.lanes_of("closed") == {"all", "stuck"}
    watch.db.close()


def test_a_channel_that_fails_is_told_by_the_others(tmp_path: Path) -> None:
    watch = Watch(tmp_path, {"name": "phone", "type": "desktop"}, {"name": "desk", "type": "desktop"})
    watch.sql(f"insert into lanes (agent, transport) values ('{ALERTS}', 'phone')")
    watch.sql(f"update lanes set broken_since = ? where agent = '{ALERTS}'", watch.now - 400)
    assert watch.look() == [f"opened stuck {ALERTS} phone"]
    assert watch.lanes_of("opened") == {"desk"}
    watch.db.close()


def test_what_breaks_for_all_at_once_is_told_once(watch: Watch) -> None:
    """A bus that is down, and 40 agents: 40 alerts, two tellings."""
    for number in range(40):
        watch.sql("insert into lanes (agent, transport) values (?, 't')", f"a{number}")
    agents = tuple(
        AgentSettings(agent=f"a{n}", transports=(TransportSettings(name="t", command=("/bin/true",)),))
        for n in range(40)
    )
    watch.settings = watch.settings.model_copy(update={"agents": agents})
    watch.settings.__dict__.pop("_lanes", None)
    watch.alerter = watch.another()
    watch.sql("update lanes set broken_since = ? where agent like 'a%'", watch.now - 400)
    watch.look()
    assert len(watch.rows("select * from alerts")) == 40
    (told,) = watch.told
    assert len(told["abouts"]) == 40
    assert "40 at once: a0 t, a1 t, a10 t, a11 t, a12 t and 35 more" in told["summary"]
    watch.mended()
    watch.look(1)
    watch.look(CLOSE_AFTER)
    assert [one["event"] for one in watch.told] == ["opened", "closed"]
    assert watch.rows("select * from alerts") == []


def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.broken(since=400)
    watch.look()
    with contextlib.closing(sqlite3.connect(watch.settings.ledger_file)) as observer:
        before = observer.execute("pragma data_version").fetchone()
        for _ in range(20):
            watch.look(10)
        assert observer.execute("pragma data_version").fetchone() == before
        watch.mended()
        assert observer.execute("pragma data_version").fetchone() != before, "it would be seen"
    watch.db.close()


def test_without_channels_it_does_not_even_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(tmp_path)
    watch.settings = watch.settings.model_copy(update={"alerts": AlertSettings()})
    watch.alerter = watch.another()
    monkeypatch.setattr(alerts, "every", lambda _: pytest.fail("it looked"))
    watch.broken(since=400)
    assert watch.look() == []
    watch.db.close()


def test_a_time_without_a_worker_is_told_once_by_the_next(watch: Watch) -> None:
    assert watch.begin() == [], "there has never been one"
    watch.worker("before", swept=7200)
    (summary,) = watch.begin()
    assert summary == (
        "no worker ran from 2026-11-21 20:26 UTC to 2026-11-21 22:26 UTC, for 2 h: it was killed, or this machine "
        "went down. One runs again"
    )
    (told,) = watch.told
    assert (told["event"], told["condition"], told["about"]) == ("closed", "worker-gone", "")
    watch.worker("us", started=0.0, swept=0.0)
    assert len(watch.begin()) == 1, "killed before its first sweep, and started again"
    assert watch.look(3600)[1:] == []


def test_a_restart_is_no_absence(watch: Watch) -> None:
    watch.worker("before", swept=250)
    assert watch.begin() == []
    watch.now += 3600
    watch.sql("insert into inboxes (agent, floor_ms, polled_at) values ('bob', 0, ?)", watch.now - 30)
    assert watch.begin() == [], "it has polled"
    watch.now -= 86400
    assert watch.begin() == [], "the clock was set back"


def test_one_that_was_stopped_is_told_as_such(watch: Watch) -> None:
    watch.worker("before", swept=7200)
    watch.sql("update workers set stopped_at = ?", watch.now - 7000)
    assert watch.begin()[0].endswith("it was stopped. One runs again")


def test_nobody_was_missed_while_another_lived(watch: Watch) -> None:
    watch.worker("other", swept=7200)  # as after the sleep of the machine
    lock = watch.held_lock("other")
    assert watch.begin() == []
    os.close(lock)
    assert len(watch.begin()) == 1


def test_a_worker_that_hung_tells_that_there_was_none(watch: Watch) -> None:
    watch.worker("us", swept=7200)
    lock = watch.held_lock("us")
    watch.alerter._looked -= 7200
    assert watch.look() == ["closed worker-gone "]
    watch.alerter = watch.another()
    watch.alerter._looked -= 7200  # killed before it could note its sweep
    assert watch.look(1) == ["closed worker-gone "]
    os.close(lock)


@pytest.mark.parametrize("answers", [True, False])
def test_a_silence_is_told_of_once_the_worker_was_asked(watch: Watch, answers: bool) -> None:
    """Who lives writes every few minutes only while nothing happens, and not at all while the machine sleeps."""
    watch.worker("other", swept=8 * 3600)
    watch.sql("insert into inboxes (agent, floor_ms, polled_at) values ('bob', 0, ?)", watch.now - 190)
    lock = watch.held_lock("other")
    before = stamp(watch.settings.files_dir)
    assert watch.look() == []
    assert stamp(watch.settings.files_dir) != before, "it is asked"
    if answers:
        watch.sql("update workers set swept_at = ?", watch.now)
        watch.sql("update inboxes set polled_at = ?", watch.now)
    assert watch.look(10) == ([] if answers else ["opened worker-silent worker 7", "opened bus-down bob"])
    os.close(lock)


def test_a_bus_that_answers_in_lines_is_told_in_one(watch: Watch) -> None:
    def fail(tx: Any) -> None:
        intake.ensure_inbox(tx, "bob", 0)
        intake.poll_failed(tx, "bob", watch.now, "HTTP 500\n{}\x1b[2J\u202e", 1.0, code="bus-http")

    watch.db.write(fail)
    watch.now += 400
    assert watch.look() == ["opened bus-down bob"], "its text could be read back"
    assert all(c.isprintable() for c in watch.told[0]["summary"])
