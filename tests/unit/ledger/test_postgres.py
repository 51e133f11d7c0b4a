"""What only the ledger in PostgreSQL can get wrong: other transactions, a server that goes away, its own words."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from tests.fakes.inbox import message
from tests.world.ledgers import at
from tests.world.postgres import Server, running_server
from worker.errors import BusWatchError
from worker.ledger import claims, events, intake, upkeep
from worker.ledger.claims import Claim, NotClaimed
from worker.ledger.errors import LedgerError, LedgerTooNewError, LedgerUnreachableError
from worker.ledger.groups import LaneSettings
from worker.ledger.port import Tx
from worker.ledger.postgres import PostgresLedger
from worker.ledger.postgres_words import statement
from worker.ledger.schema import VERSION


@pytest.fixture
def server(postgres: Callable[[], Server]) -> Server:
    return postgres()


@pytest.fixture
def url(server: Server) -> str:
    return server.emptied("pair")


@pytest.fixture
def two(url: str) -> Iterator[tuple[PostgresLedger, PostgresLedger]]:
    """The ledgers of two processes."""
    with closing(at(url)) as one, closing(at(url)) as other:
        yield one, other


def _claim(tx: Tx, which: claims.Which, attempt: str) -> Claim | NotClaimed:
    return claims.claim(
        tx, which, attempt_id=attempt, worker="w", boot_id="b", settings=lambda *_: LaneSettings(), now=2.0
    )


def test_one_of_many_claims_of_a_lane_is_won(two: tuple[PostgresLedger, PostgresLedger]) -> None:
    one, other = two
    page = [message(ms) for ms in range(1, 41)]
    one.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, ["t", "u"]), 1.0))

    def claim(number: int) -> Claim | NotClaimed:
        ledger = (one, other)[number % 2]
        return ledger.write(lambda tx: _claim(tx, claims.head_of(1 + number // 2 % 2), f"{number:032x}"))

    with ThreadPoolExecutor(16) as pool:
        won = [found for found in pool.map(claim, range(32)) if isinstance(found, Claim)]
    assert sorted(found.lane for found in won) == [1, 2]
    assert len(one.read(upkeep.running_attempts)) == 2


def test_a_deadlock_costs_nobody_anything(two: tuple[PostgresLedger, PostgresLedger]) -> None:
    """Two transactions that lock two lanes in turn: the server ends one, whose operations are run again."""
    one, other = two
    one.write(lambda tx: intake.take_in(tx, "a", [message(1)], lambda _: (None, ["t", "u"]), 1.0))
    meeting = threading.Barrier(2, timeout=30)
    tries: list[int] = []

    def lock(first: int, second: int) -> Callable[[Tx], None]:
        def operation(tx: Tx) -> None:
            tx.lock_lanes([first])
            tries.append(first)
            if tries.count(first) == 1:
                meeting.wait()
            tx.lock_lanes([second])
            tx.execute("update lanes set broken_since = coalesce(broken_since, 0) + 1 where id = ?", (second,))

        return operation

    with ThreadPoolExecutor(2) as pool:
        for done in (pool.submit(one.write, lock(1, 2)), pool.submit(other.write, lock(2, 1))):
            done.result(60)
    assert len(tries) > 2
    rows = one.read(lambda tx: [row[0] for row in tx.execute("select broken_since from lanes")])
    assert rows == [1.0, 1.0]


def test_a_follower_misses_nothing_whoever_commits_first(two: tuple[PostgresLedger, PostgresLedger]) -> None:
    one, other = two
    written, may_commit = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        intake.take_in(tx, "a", [message(1)], lambda _: (None, ["t"]), 1.0)
        written.set()
        assert may_commit.wait(30)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(one.write, slow)
        assert written.wait(30)
        other.write(lambda tx: intake.take_in(tx, "b", [message(2)], lambda _: (None, ["t"]), 1.0))
        (seen,) = other.read(lambda tx: events.after(tx, 0, 10))
        may_commit.set()
        first.result(30)
    later = other.read(lambda tx: events.after(tx, seen.cursor, 10))
    assert [found.key.split("/")[0] for found in (seen, *later)] == ["b", "a"]


def test_events_are_numbered_in_the_order_of_their_commits(two: tuple[PostgresLedger, PostgresLedger]) -> None:
    stop = threading.Event()
    seen: list[int] = []

    def follow() -> None:
        over = False
        while not over:
            over = stop.is_set()
            seen.extend(one.cursor for one in two[1].read(lambda tx: events.after(tx, seen[-1] if seen else 0, 1000)))

    def send(number: int) -> None:
        two[number % 2].write(lambda tx: intake.take_in(tx, f"a{number}", [message(1)], lambda _: (None, ["t"]), 1.0))

    with ThreadPoolExecutor(5) as pool:
        following = pool.submit(follow)
        list(pool.map(send, range(60)))
        stop.set()
        following.result(60)
    assert len(seen) == 60


def test_a_text_is_kept_whatever_is_in_it(two: tuple[PostgresLedger, PostgresLedger]) -> None:
    one, other = two
    texts = ["a\0b", "\0", "\U0010fffd0", "\U0010fffd\0\U0010fffd1", "100 % of :it, ?"]
    one.write(
        lambda tx: tx.executemany(
            "insert into outbox (agent, recipient, kind, text, created_at, state) values (?, 'b', 'x', ?, 1, 'held')",
            [(f"a{number}", text) for number, text in enumerate(texts)],
        )
    )
    assert other.read(lambda tx: [row["text"] for row in tx.execute("select text from outbox order by id")]) == texts


def test_values_never_come_into_a_statement() -> None:
    assert statement("select :a, ? from t indexed by i where x like '%:' and y = :b1") == (
        "select %(a)s, %s from t  where x like '%%:' and y = %(b1)s"
    )


def test_a_newer_schema_is_refused(server: Server, url: str) -> None:
    with closing(at(url)) as ledger:
        ledger.read(upkeep.running_attempts)
    with server.connect() as connection:
        connection.execute("insert into pair.schema_version values (%s)", (VERSION + 1,))
        try:
            with pytest.raises(LedgerTooNewError, match="upgrade"), closing(at(url)) as ledger:
                ledger.read(upkeep.running_attempts)
        finally:
            connection.execute("delete from pair.schema_version where version > %s", (VERSION,))


def test_two_that_migrate_at_once_wait_for_each_other(server: Server) -> None:
    url = server.fresh("new")

    def begin(_: int) -> None:
        with closing(at(url)) as ledger:
            ledger.read(upkeep.running_attempts)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@127.0.0.1:1/x", "postgresql://u:hunter2@[/x", "nonsense hunter2"]
)
def test_no_error_quotes_the_password(url: str) -> None:
    with pytest.raises(BusWatchError) as raised, closing(at(url)) as ledger:
        ledger.read(upkeep.running_attempts)
    shown = [raised.value, raised.value.__cause__]
    assert "hunter2" not in "".join(f"{error} {error!r}" for error in shown)


def _add(ledger: PostgresLedger, agent: str) -> None:
    ledger.write(lambda tx: intake.ensure_inbox(tx, agent, 0))


def test_the_server_may_crash_and_come_back() -> None:
    with running_server() as server, closing(at(server.fresh("a"))) as ledger:
        _add(ledger, "a")
        for how in ("fast", "immediate"):
            server.stop(how)
            with pytest.raises(LedgerUnreachableError, match="work goes on when it can"):
                _add(ledger, how)
            with pytest.raises(LedgerUnreachableError):
                ledger.read(upkeep.running_attempts)
            server.start()
            _add(ledger, f"after {how}")
        found = ledger.read(lambda tx: [row[0] for row in tx.execute("select agent from inboxes order by agent")])
        assert found == ["a", "after fast", "after immediate"]


def test_a_connection_that_broke_in_between_is_made_again(server: Server, url: str) -> None:
    with closing(at(url)) as ledger:
        ledger.write(lambda tx: intake.ensure_inbox(tx, "a", 0))
        ledger.read(upkeep.running_attempts)
        with server.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bus-watch'"
            )
        ledger.write(lambda tx: intake.ensure_inbox(tx, "b", 0))
        assert len(ledger.read(lambda tx: tx.execute("select agent from inboxes").fetchall())) == 2


def test_nobody_waits_for_ever_for_a_lock(server: Server, url: str) -> None:
    with closing(at(url)) as ledger, psycopg.connect(server.url("pair")) as other:
        ledger.write(lambda tx: tx.execute("insert into lanes (agent, transport) values ('a', 't')"))
        ledger.write(lambda tx: tx.execute("set lock_timeout = '100ms'"))
        other.execute("select 1 from lanes for update")
        with pytest.raises(LedgerError, match="keeps it locked"):
            ledger.write(lambda tx: tx.lock_lanes([1]))
        other.rollback()
        ledger.write(lambda tx: tx.lock_lanes([1]))
