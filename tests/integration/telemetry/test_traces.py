"""Traces of the real consumer, as a collector gets them."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.collector import FakeCollector
from tests.world.config import QUICK
from tests.world.waiting import until
from tests.world.world import World
from worker.telemetry.traces import trace_id

TEXT = "words that no trace may carry"


def _attributes(of: Any) -> dict[str, Any]:
    return {one.key: one.value.int_value or one.value.string_value for one in of.attributes}


@pytest.mark.timeout(240)
def test_a_span_a_delivery_with_its_attempts_through_a_kill(world: World) -> None:
    good = world.transport("good")
    again = world.transport("again", before=f"[ -e {world.home}/go ] || exit 1", retry_delay=0.2, retry_max_delay=0.5)
    bad = {"name": "bad", "command": [world.script("bad", f"echo '{TEXT}'; exit 64")]}
    with FakeBridge("B") as bridge, FakeCollector() as collector:
        world.configure(world.agent(bridge, "bob", good, again, bad), **QUICK, traces_endpoint=collector.url)
        bridge.streams.add("bob", TEXT)
        worker = world.start_consumer("-g", "TERM")
        until(lambda: world.count("select count(*) from attempts") >= 4, "attempts fail", 60)
        worker.stop(signal.SIGKILL)
        (world.home / "go").touch()
        worker = world.start_consumer("-g", "TERM")
        until(lambda: not world.rows("select 1 from messages where state = 'open'"), "all is over", 60)
        worker.stop(signal.SIGTERM)  # what waits is sent at the end
        spans = {one.name: one for one in collector.spans}
        assert "deliver again" in spans, worker.log()
        stream, number = world.rows("select stream, message_id from messages")[0]

    of_message = trace_id(f"bob/{stream}/{number}").to_bytes(16, "big")
    assert {one.trace_id for one in collector.spans} == {of_message}
    span = spans["deliver again"]
    starts = world.count("select starts from deliveries d join lanes l on l.id = d.lane where l.transport = 'again'")
    assert _attributes(span)["bus_watch.attempts"] == starts
    assert [one.name for one in span.events].count("attempt began") == starts
    results = [_attributes(one).get("bus_watch.result") for one in span.events if one.name == "attempt ended"]
    assert results[-1] == "exit 0"
    assert span.start_time_unix_nano <= span.events[0].time_unix_nano <= span.end_time_unix_nano
    assert TEXT.encode() not in b"".join(collector.raw)


def test_a_collector_that_is_not_there_is_said_once_and_holds_nothing_up(world: World) -> None:
    with FakeBridge("B") as bridge:
        world.configure(world.agent(bridge, "bob"), **QUICK, traces_endpoint="http://127.0.0.1:1/v1/traces")
        bridge.streams.add("bob", "one")
        worker = world.start_consumer("-g", "TERM")
        until(lambda: world.seen("bob-wake"), "it is delivered", 60)
        worker.wait_for_line("traces_endpoint takes no spans", 60)
        worker.stop(signal.SIGTERM)
        assert worker.log().count("takes no spans") == 1
        assert "Traceback" not in worker.log()


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    code = "import sys, worker.app, worker.telemetry.observers; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
