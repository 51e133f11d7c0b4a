"""A ledger moves to another place and back: every row of it, once, and nobody writes into the one that it has left."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.inbox import message
from tests.world.postgres import Server
from worker.delivery import Ending, RetryPolicy
from worker.ledger import claims, copying, departures, intake, outbox, settling, upkeep
from worker.ledger.departures import Moved, MoveRefusedError, Route
from worker.ledger.errors import LedgerError, LedgerMovedError
from worker.ledger.groups import LaneSettings
from worker.ledger.port import Ledger, Tx
from worker.ledger.postgres import PostgresLedger
from worker.ledger.schema import CLOSED
from worker.ledger.sqlite import SqliteLedger
from worker.secret import Secret

BOOKKEEPING = {"departures", "arrivals", "server_line", "hosts"}  # of moves, and of the server; hosts show themselves
Open = Callable[[str], Ledger]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Open]:
    """Opens ledgers in files, by name, though they may have moved."""
    with ExitStack() as stack:
        yield lambda name: _kept(stack, SqliteLedger(tmp_path / f"{name}.db", moved_too=True))


@pytest.fixture
def server(postgres: Callable[[], Server]) -> Server:
    return postgres()


@pytest.fixture
def url(server: Server) -> Callable[[], Secret]:
    url = Secret(server.fresh("moved"))
    return lambda: url


@pytest.fixture
def fleet(url: Callable[[], Secret]) -> Iterator[Ledger]:
    with ExitStack() as stack:
        yield _kept(stack, PostgresLedger(url, moved_too=True))


def _kept(stack: ExitStack, ledger: PostgresLedger | SqliteLedger) -> Ledger:
    stack.callback(ledger.close)
    return ledger


def fill(ledger: Ledger, agent: str = "a", *, ms: int = 1000, transports: tuple[str, ...] = ("t", "u")) -> None:
    """What a worker leaves: delivered, dead, held, retrying and waiting, things sent, a forgotten message, a skip."""
    page = [message(ms + n, text=f"text {n} with a \0 in it") for n in range(6)]
    ledger.write(lambda tx: intake.ensure_inbox(tx, agent, 5))
    ledger.write(lambda tx: intake.take_in(tx, agent, page, lambda _: (None, list(transports)), 10.0))
    endings = (Ending("exit", 0), Ending("exit", 64), Ending("interrupted"), Ending("exit", 1))
    for n, ending in enumerate(endings):
        ledger.write(partial(_run, agent=agent, attempt=f"{agent}{n}", ending=ending))

    def more(tx: Tx) -> None:
        lane = tx.execute("select min(id) as id from lanes where agent = ?", (agent,)).fetchone()["id"]
        newest = tx.execute("select max(id) as id from messages where agent = ?", (agent,)).fetchone()["id"]
        upkeep.register_worker(tx, f"worker-of-{agent}", pid=1, boot_id="b", version="1", kind="consumer", now=1.5)
        upkeep.note_stop(tx, f"worker-of-{agent}", 99.25)
        tx.execute("update lanes set broken_since = 12.5, broken_reason = 'nobody there' where id = ?", (lane,))
        tx.execute("delete from messages where id = ?", (newest,))
        tx.execute("insert into seen (agent, message) values (?, ?)", (agent, newest))
        tx.execute("insert into skipped (agent, stream, ms, seq) values (?, 's', 1, 2)", (agent,))
        tx.execute("insert into imported (agent, ms, seq) values (?, 3, 4)", (agent,))
        tx.execute("insert into streams (agent, stream, floor_ms, floor_seq) values (?, 's', 7, 1)", (agent,))
        tx.execute("insert into notices (message) select min(id) from messages where agent = ?", (agent,))
        tx.execute("insert into unknown_screens values ('codex', ?, 3, 1.0, 2.0)", (agent,))
        tx.execute("insert into alerts (condition, about, opened_at, said) values ('dead', ?, 1.0, 'said')", (agent,))
        first, second = (
            row["id"] for row in tx.execute("select id from deliveries where lane = ? order by id limit 2", (lane,))
        )
        tx.execute("insert into companions select min(id), ?, 1 from attempts where delivery = ?", (second, first))
        tx.execute("update deliveries set companion = id where id = ?", (second,))
        number = outbox.put(tx, agent, "z", "said", kind="send", now=3.0)
        tx.execute("update outbox set state = 'sent', ended_at = 4.0, outcome = 'submitted' where id = ?", (number,))

    ledger.write(more)


def _run(tx: Tx, agent: str, attempt: str, ending: Ending) -> None:
    lane = tx.execute("select min(id) as id from lanes where agent = ?", (agent,)).fetchone()["id"]
    claimed = claims.claim(
        tx, claims.head_of(lane), attempt_id=attempt, worker=f"worker-of-{agent}", boot_id="b",
        settings=lambda *_: LaneSettings(), now=20.0,
    )  # fmt: skip
    assert isinstance(claimed, claims.Claim)
    policy = RetryPolicy(on_unknown="hold")
    settling.settle(tx, claimed.delivery, attempt, ending, policy, now=21.5, rng=random.Random(1), output="printed")
    settling.finish(tx, 1, 22.0)


def _delete(tx: Tx, table: str) -> None:
    tx.execute(f"delete from {table}")


def dump(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    def rows(db: Tx) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table.name: [
                tuple(row) for row in db.execute(f"select * from {table.name} order by {', '.join(table.key)}")
            ]
            for table in copying.TABLES
        }

    return ledger.read(rows)


def move(source: Ledger, target: Ledger, host: str = "one") -> Moved | None:
    return departures.move(
        source, target, Route("here", "there", host if isinstance(target, PostgresLedger) else ""), now=100.0
    )


def placed(tables: dict[str, list[tuple[Any, ...]]], ledger: Ledger, host: str) -> dict[str, list[tuple[Any, ...]]]:
    """What a file has, as it is in the fleet: with its host's name."""

    def named(db: Tx) -> dict[str, list[int]]:
        return {
            name: [list(db.execute(f"select * from {name} limit 1").fetchone().keys()).index("host")]
            for name in ("workers", "attempts", "alerts", "lanes")
        }

    where = ledger.read(named)
    return {
        name: [
            tuple(host if column in where.get(name, ()) else value for column, value in enumerate(row)) for row in rows
        ]
        for name, rows in tables.items()
    }


def test_every_table_is_copied(file: Open) -> None:
    known = {table.name for table in copying.TABLES} | BOOKKEEPING
    tables = file("one").read(
        lambda db: [row["name"] for row in db.execute("select name from sqlite_master where type = 'table'")]
    )
    assert set(tables) == known
    full = file("two")
    fill(full)
    assert {name for name, rows in dump(full).items() if not rows} == set(), "and the tests below copy each of them"


def test_there_and_back_is_the_same(file: Open, fleet: Ledger) -> None:
    home = file("home")
    fill(home)
    fill(home, "b", ms=2000)
    before = dump(home)
    gone = move(home, fleet)
    assert gone is not None
    assert gone.rows["messages"] == len(before["messages"])
    assert not gone.met
    assert dump(fleet) == placed(before, home, "one")
    assert move(fleet, home) is not None
    assert dump(home) == before
    fill(home, "c", ms=3000)  # it is open again, tells of what happens, and numbers go on
    changed = dump(home)
    assert len(changed["events"]) > len(before["events"])
    assert move(home, fleet) is not None, "and what had left it made room"
    assert dump(fleet) == placed(changed, home, "one")
    fill(fleet, "d", ms=4000)


def test_the_ledgers_of_several_hosts_become_one(file: Open, fleet: Ledger) -> None:
    one, two = file("one"), file("two")
    fill(one)
    fill(two, "b")
    alone = {name: dump(ledger) for name, ledger in (("a", one), ("b", two))}
    move(one, fleet)
    fill(fleet, "c", ms=7000)  # a worker of the first host is at work already
    moved = move(two, fleet, "two")
    assert moved is not None
    assert not moved.met

    def story(ledger: dict[str, list[tuple[Any, ...]]], agent: str) -> object:
        """What is left of an agent's rows without their numbers."""
        return [row[1:] for row in ledger["messages"] if row[1] == agent]

    both = dump(fleet)
    assert {row[0]: row[1] for row in fleet.read(_lanes_by_host)} == {"a": "one", "b": "two", "c": None}
    for agent, ledger in alone.items():
        assert story(both, agent) == story(ledger, agent)
    for tables in (both, *alone.values()):
        deliveries = {row[0]: row for row in tables["deliveries"]}
        messages = {row[0]: row for row in tables["messages"]}
        assert all(attempt[1] in deliveries for attempt in tables["attempts"])
        assert all(row[1] in messages and messages[row[1]][3:5] == row[3:5] for row in tables["deliveries"])
        assert all(event[3] is None or event[3] in deliveries for event in tables["events"] if event[5] == "running")
    assert len(both["attempts"]) == 12
    assert {row[0] for row in alone["b"]["attempts"]} <= {row[0] for row in both["attempts"]}
    fill(fleet, "d", ms=8000)  # and numbers go on


def _lanes_by_host(db: Tx) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute("select distinct agent, host from lanes")]


@pytest.mark.parametrize(
    ("here", "there", "together"),
    [
        ("waiting", "succeeded", "succeeded"),
        ("succeeded", "waiting", "succeeded"),
        ("held", "retrying", "held"),
        ("dead", "waiting", "waiting"),
        ("cancelled", "dead", "dead"),
    ],
)
def test_what_both_know_becomes_one(file: Open, fleet: Ledger, here: str, there: str, together: str) -> None:
    one, two = file("one"), file("two")
    one.write(lambda tx: _in_state(tx, here, floor=50, starts=1))
    two.write(lambda tx: _in_state(tx, there, floor=20, starts=2))
    two.write(lambda tx: intake.take_in(tx, "a", [message(101)], lambda _: (None, ["t", "u"]), 10.0))
    two.write(lambda tx: tx.execute("update lanes set paused = 1"))
    move(one, fleet)
    moved = move(two, fleet)
    assert moved is not None
    assert moved.met == {"lanes": 1, "messages": 1, "deliveries": 1}
    found = fleet.read(
        lambda db: [
            tuple(row)
            for row in db.execute(
                """
                select m.ms, m.state, l.transport, d.state, d.starts, l.paused from deliveries d
                join messages m on m.id = d.message join lanes l on l.id = d.lane order by m.ms, l.transport
                """
            )
        ]
    )
    final = {"succeeded": "delivered", "dead": "failed"}
    assert found == [
        (100, final.get(together, "open"), "t", together, 2, 1),
        (101, "open", "t", "waiting", 0, 1),
        (101, "open", "u", "waiting", 0, 1),
    ]
    assert fleet.read(lambda db: db.execute("select floor_ms from inboxes").fetchone()["floor_ms"]) == 20


def _in_state(tx: Tx, state: str, *, floor: int, starts: int) -> None:
    intake.ensure_inbox(tx, "a", floor)
    intake.take_in(tx, "a", [message(100)], lambda _: (None, ["t"]), 10.0)
    tx.execute("update deliveries set state = ?, starts = ?, ended_at = 11.0", (state, starts))
    settling.finish(tx, 1, 12.0)


def test_nobody_works_with_what_has_moved(file: Open, tmp_path: Path, fleet: Ledger, url: Callable[[], Secret]) -> None:
    home = file("home")
    fill(home)
    move(home, fleet)
    with pytest.raises(LedgerMovedError, match=r"moved to there: .* --back"):
        SqliteLedger(tmp_path / "home.db")
    for table in CLOSED:  # not even who had it open before
        with pytest.raises(LedgerError, match="has moved to there"):
            home.write(partial(_delete, table=table))
    with pytest.raises(MoveRefusedError, match="already"):
        move(home, fleet)
    move(fleet, home)
    with pytest.raises(LedgerMovedError, match="moved to there"):
        PostgresLedger(url).read(departures.departure)
    for table in CLOSED:
        with pytest.raises(LedgerError, match="has moved to there"):
            fleet.write(partial(_delete, table=table))
    SqliteLedger(tmp_path / "home.db").close()


def test_what_runs_keeps_it(file: Open, fleet: Ledger) -> None:
    home = file("home")
    fill(home)
    before = dump(home)
    home.write(lambda tx: tx.execute("update deliveries set state = 'running' where state = 'waiting' and lane = 2"
                                     " and id = (select max(id) from deliveries)"))  # fmt: skip
    home.write(lambda tx: tx.execute("update outbox set state = 'sending'"))
    with pytest.raises(MoveRefusedError, match="1 running and 1 being sent: start the worker"):
        move(home, fleet)
    home.write(lambda tx: tx.execute("update deliveries set state = 'waiting' where state = 'running'"))
    home.write(lambda tx: tx.execute("update outbox set state = 'sent'"))
    assert dump(home)["messages"] == before["messages"], "it is open as before"


@pytest.mark.parametrize("where", ["before it arrived", "after it arrived"])
def test_a_move_that_was_killed_goes_on_or_is_taken_back(
    file: Open, fleet: Ledger, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = file("home")
    fill(home)
    before = dump(home)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(departures, "finish" if where.startswith("after") else "_arrive", killed)
    with pytest.raises(KeyboardInterrupt):
        move(home, fleet)
    monkeypatch.undo()
    gone = home.read(departures.departure)
    assert gone is not None
    assert not gone.done
    with pytest.raises(LedgerError, match="being moved to there"):
        home.write(lambda tx: tx.execute("delete from outbox"))
    with pytest.raises(MoveRefusedError, match="itself being moved"):
        move(fleet, home)
    assert fleet.read(departures.departure) is None
    came = fleet.read(lambda db: departures.arrived(db, gone.move))
    assert came is where.startswith("after")
    if not came:
        departures.take_back(home, gone)
        assert dump(home) == before
        home.write(lambda tx: tx.execute("delete from outbox where id = 0"))
    assert (move(home, fleet) is None) is came, "copied once"
    assert dump(fleet) == placed(before, home, "one")
