"""The short form of `ops/bench`: every part runs and delivers rightly. How fast it was is nobody's failure here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ops.benchmarks.table import Row, in_turn, percentile, ratios
from ops.benchmarks.world import World, true_agents

ROOT = Path(__file__).parents[2]
PARTS = {
    "throughput": {"throughput", "overhead", "one lane"},
    "threads": {"threads"},
    "waits": {"waits"},
    "overhead": {"commits"},
    "latency": {"latency"},
    "lanes": {"lanes"},
    "once": {"once"},
    "scale": {"scale"},
    "idle": {"idle"},
    "startup": {"start-up"},
    "sending": {"agent-send"},
    "wakes": {"wakes"},
    "views": {"views"},
    "fleet": {"fleet"},
    "alerts": {"alerts"},
    "peers": {"peers", "peers lost", "peers syncs"},
}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_in_its_short_form(part: str, tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    argv = [sys.executable, "-m", "ops.benchmarks", "--quick", "--json", str(report), part]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(report.read_text())["rows"]
    assert {row["part"] for row in rows} == PARTS[part]
    # So short a run may pass without a request, and without a tick of the CPU clock; an idle worker writes nothing.
    may_be_none = ("CPU", "requests a", "a day", "wake-ups", "lost", "done twice")
    counted = [row for row in rows if not any(word in row["what"] for word in may_be_none)]
    assert [row for row in counted if row["value"] <= 0] == []
    assert all(row["what"] in done.stdout for row in rows)


def test_a_wrong_delivery_fails_the_run() -> None:
    with World(true_agents(1), url="http://127.0.0.1:1") as world:
        world.fill(2, finished=3)
        with pytest.raises(SystemExit, match=r"wrong: .*'waiting': 2"):
            world.proof(2, 3)
        world.change("update deliveries set state = 'succeeded'")
        with pytest.raises(SystemExit, match="0 attempts"):
            world.proof(2, 3)
        world.change(
            "insert into attempts (id, delivery, lane, starts, worker, boot_id, source, started_at, timeout, ended_at)"
            " select 'a' || id, id, lane, 1, 'w', 'b', '', 100 - id, 30, 200 from deliveries"
            " where id not in (select delivery from attempts)"
        )
        with pytest.raises(SystemExit, match="1 out of order"):
            world.proof(2, 3)
        world.change("update attempts set started_at = delivery where worker = 'w'")
        assert world.proof(2, 3) == (1.0, 200.0)


def test_pairs_run_in_turn_and_keep_their_rounds() -> None:
    seen: list[str] = []

    def variant(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    found = in_turn(2, lambda: variant("a"), lambda: variant("b"))
    assert seen == ["a", "b", "b", "a"]
    assert found == [[1.0, 4.0], [2.0, 3.0]]
    assert ratios(found[0], found[1]) == [0.5, 4.0 / 3.0]


def test_goals_and_percentiles() -> None:
    assert Row("p", "w", 0.8, goal=">= 0.75").met is True
    assert Row("p", "w", 16.0, goal="<= 15").met is False
    assert Row("p", "w", 1.0).met is None
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
