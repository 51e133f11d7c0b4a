"""The short form of `ops/latency`: it runs, nothing is lost, and its figures are those of what happened."""

import json
import subprocess
import sys
from pathlib import Path

from tests.world.processes import ROOT


def test_the_short_form(tmp_path: Path) -> None:
    found_in = tmp_path / "found.json"
    command = [sys.executable, str(ROOT / "ops" / "latency_measure.py"), "--only", "watch", "--seconds", "5"]
    done = subprocess.run(
        [*command, "--json", str(found_in)], capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False
    )
    assert done.returncode in {0, 1}, done.stderr  # 1: a goal was missed, as it may be on a busy machine
    (found,) = json.loads(found_in.read_text())
    assert found["name"] in done.stdout
    assert found["messages"] >= 1
    assert found["lost"] == 0
    assert 0 < found["p50"] <= found["p95"] <= found["longest"]
    assert 0 < found["requests_in_a_minute"] <= 60
