"""What several hosts do to one ledger at the same moment, and what they may not make of it."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import pytest

from tests.fakes.inbox import message
from tests.unit.engine.test_polling import START, Bus, Clock, NoQueue, NoWaiting, most_in_a_minute
from tests.unit.engine.test_polling import message as mail
from tests.world.fleet import FleetClock
from tests.world.ledgers import at
from tests.world.postgres import Server
from worker.bus.client import BusClient
from worker.configuration import load
from worker.delivery import Ending, RetryPolicy
from worker.engine import Engine
from worker.ledger import claims, intake, settling
from worker.ledger.claims import Claim
from worker.ledger.groups import LaneSettings
from worker.ledger.port import Tx
from worker.ledger.postgres import PostgresLedger
from worker.ledger.settling import Settled
from worker.secret import Secret


@pytest.fixture
def url(postgres: Callable[[], Server]) -> str:
    return postgres().emptied("together")


def test_a_message_whose_lanes_end_together_on_two_hosts_is_finished_once(url: str) -> None:
    with closing(at(url)) as north, closing(at(url)) as south:
        page = [message(ms) for ms in range(1, 13)]
        north.write(lambda tx: intake.take_in(tx, "a", page, lambda _: (None, ["t", "u"]), 1.0))
        for number in range(12):
            meeting = threading.Barrier(2, timeout=60)

            def deliver(
                ledger: PostgresLedger, lane: int, host: str, number: int = number, meeting: Any = meeting
            ) -> bool:
                attempt = f"{number:031x}{lane}"

                def claim(tx: Tx) -> Any:
                    return claims.claim(
                        tx, claims.head_of(lane), attempt_id=attempt, worker=host, boot_id="b",
                        settings=lambda *_: LaneSettings(), now=2.0, host=host,
                    )  # fmt: skip

                found = ledger.write(claim)
                assert isinstance(found, Claim)
                meeting.wait()

                def settle(tx: Tx) -> Settled | None:
                    return settling.settle(
                        tx, found.delivery, attempt, Ending("exit", 0), RetryPolicy(), now=3.0, rng=random.Random(1)
                    )

                settled = ledger.write(settle)
                assert settled is not None
                return settled.finished

            with ThreadPoolExecutor(2) as pool:
                both = pool.submit(deliver, north, 1, "north"), pool.submit(deliver, south, 2, "south")
                assert sorted(one.result(120) for one in both) == [False, True]
        assert north.read(
            lambda tx: [tuple(row) for row in tx.execute("select state, count(*) from messages group by 1")]
        ) == [("delivered", 12)]


@pytest.fixture
def workers(url: str, tmp_path: Path) -> Iterator[tuple[Clock, Bus, list[Engine]]]:
    """Of two hosts that both have the inbox's token."""
    clock, ledger_clock = Clock(), FleetClock()
    bus = Bus(clock)
    with ExitStack() as stack:
        made = []
        for name in ("north", "south"):
            home = tmp_path / name
            home.mkdir()
            document = {
                "agent": "bob", "token_env": "HOME", "transports": [{"name": "t", "command": ["/bin/true"]}],
                "state_path": str(home / "state.json"), "ledger_url": url, "host": name, "poll_interval": 1,
            }  # fmt: skip
            (home / "config.json").write_text(json.dumps(document))
            (home / "config.json").chmod(0o600)
            ledger = PostgresLedger(lambda: Secret(url), clock=ledger_clock)
            stack.enter_context(closing(ledger))
            engine = Engine(
                settings=load(home / "config.json"), db=ledger, queue=NoQueue(), bus=cast("BusClient", bus),
                clock=clock, stopping=NoWaiting(clock),
            )  # fmt: skip
            engine.db.write(engine.register)
            made.append(engine)
        yield clock, bus, made


def test_two_hosts_that_poll_one_inbox_keep_its_budget(workers: tuple[Clock, Bus, list[Engine]]) -> None:
    clock, bus, engines = workers
    rng = random.Random(3)
    while len(bus.requests) < 120 and clock.now < START + 900:
        bus.pages = rng.choice([1, 1, 2, 3])
        if rng.random() < 0.3:
            bus.ready = [mail(clock)]
        rng.choice(engines).poller.poll("bob", rung=rng.random() < 0.5)
        clock.now += rng.choice([0.0, 0.1, 3.0])
    assert len(bus.requests) > 60
    assert most_in_a_minute(bus.requests) <= 60


@pytest.mark.parametrize("minutes", [10, -10])
def test_a_host_whose_clock_is_wrong_has_the_server_s(url: str, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time
    with closing(at(url)) as north:
        north.read(lambda tx: tx.execute("select 1").fetchone())
        monkeypatch.setattr(time, "time", lambda: right() + minutes * 60)
        with closing(at(url)) as south:
            south.read(lambda tx: tx.execute("select 1").fetchone())
            assert abs(south.now() - north.now()) < 2.0
            assert abs(south.now() - right()) < 2.0
            assert south.write(lambda tx: abs(tx.now() - right()) < 2.0)
