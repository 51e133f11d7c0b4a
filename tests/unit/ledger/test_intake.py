"""Messages coming in: all of a poll or nothing, each once, none below the floors; and where the next page begins."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from tests.fakes.inbox import message
from tests.fakes.ledgers import first_look
from worker.ledger import history, intake
from worker.ledger.old_state import import_old_state
from worker.ledger.port import Ledger
from worker.ledger.sqlite import SqliteLedger
from worker.settings import AgentSettings, Settings, TransportSettings

OTHER = "sos:stream:project:p:agent:a"


def _take(db: Ledger, *page: object, now: float = 100.0) -> intake.Taken:
    return db.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, ["t", "u"]), now))  # type: ignore[arg-type]


def test_each_message_once_with_a_delivery_for_each_transport(db: Ledger) -> None:
    page = [message(1), message(1, 1), message(1, stream=OTHER)]
    assert _take(db, *page).new == 3
    assert _take(db, *page, message(2)).new == 1
    rows = db.read(lambda tx: tx.execute("select count(*) as n from deliveries where state = 'waiting'").fetchone())
    assert rows["n"] == 8


def test_a_poll_that_fails_in_the_middle_takes_nothing(db: Ledger) -> None:
    class PoisonError(Exception):
        pass

    def route(one: object) -> tuple[None, list[str]]:
        if getattr(one, "ms", 0) == 3:
            raise PoisonError
        return None, ["t"]

    with pytest.raises(PoisonError):
        db.write(lambda tx: intake.take_in(tx, "a", [message(ms) for ms in (1, 2, 3, 4)], route, 1.0))
    assert db.read(lambda tx: tx.execute("select count(*) as n from messages").fetchone())["n"] == 0


def test_a_message_that_goes_nowhere_is_logged(db: Ledger) -> None:
    taken = db.write(lambda tx: intake.take_in(tx, "a", [message(1)], lambda _: ("terminal-log", []), 1.0))
    assert (taken.new, taken.logged, taken.lanes) == (1, 1, ())
    row = db.read(lambda tx: tx.execute("select state, finished_at from messages").fetchone())
    assert tuple(row) == ("logged", 1.0)


def test_the_cursor_lies_before_the_newest_of_the_present(db: Ledger) -> None:
    now = 1_000_000_000
    assert db.read(lambda tx: history.cursor(tx, "a", now)) == (0, 0)
    _take(db, message(900_000_000), message(990_000_000), message(99_000_000_000))
    assert db.read(lambda tx: history.cursor(tx, "a", now)) == (990_000_000 - history.OVERLAP_MS, 0)
    assert db.read(lambda tx: history.known_after(tx, "a", 990_000_000 - history.OVERLAP_MS)) == 2


def test_a_crowd_of_known_messages_is_not_asked_for_again_and_again(db: Ledger) -> None:
    _take(db, *(message(990_000_000 + number) for number in range(1000)))
    cursor, _ = db.read(lambda tx: history.cursor(tx, "a", 1_000_000_000))
    assert db.read(lambda tx: history.known_after(tx, "a", cursor + 1)) == history.OVERLAP_COUNT + 1


def test_two_workers_share_one_budget(db: Ledger) -> None:
    """Slots are handed out in the ledger, a gap apart, whoever asks; a clock set back silences nobody."""
    rng = random.Random(1)
    now, slots = 1000.0, []
    for _ in range(50):
        now += rng.uniform(0, 0.5)
        slots.append(now + db.write(lambda tx, at=now: intake.book_slot(tx, "a", at, 1.1)))  # type: ignore[misc]
    assert all(later - sooner >= 1.1 - 1e-6 for sooner, later in pairwise(slots))
    assert db.write(lambda tx: intake.book_slot(tx, "a", 10.0, 1.1)) == 0.0


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b'{"delivered": ["100-0", "250-1", "300-0"]}', 3),
        (b'{"delivered": ["100-0", "250-1", "30', 2),
        (b"", 0),
        (b"not json at all \xff\xfe", 0),
    ],
)
def test_the_old_ledger_is_taken_over_once(tmp_path: Path, content: bytes, ids: int) -> None:
    old = tmp_path / "bus-watch-state.json"
    old.write_bytes(content)
    settings = Settings(
        agents=(AgentSettings(agent="a", transports=(TransportSettings(name="t", command=("/bin/true",)),)),),
        state_path=str(old),
        start_from="all",
        config_path=tmp_path / "config.json",
    )
    db = SqliteLedger(settings.ledger_file)
    assert import_old_state(db, settings) == ids
    assert import_old_state(db, settings) == 0
    assert old.read_bytes() == content
    page = [message(50), message(100), message(200), message(250, 1), message(300), message(400)]
    view = first_look(db, "a", start_from="all")
    known = view.known(page)
    taken = _take(db, *(one for one in page if one.key not in known))
    delivered = {3: 2, 2: 3, 0: 6}[ids]  # neither what it delivered nor anything older
    assert taken.new == delivered
    db.close()
