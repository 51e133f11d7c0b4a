"""The launcher is started for each worker, stays, and is forked from: it imports next to nothing."""

import subprocess
import sys

from tests.world.processes import ROOT

HEAVY = ("typing", "re", "pathlib", "subprocess", "dataclasses", "json", "logging", "threading")


def test_the_launcher_imports_nothing_heavy() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import worker.transports.launcher; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert set(HEAVY) & set(done.stdout.split()) == set()
