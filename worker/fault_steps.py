"""Named steps at which the fault harness kills this process. Without the harness a step does nothing.

`BUS_WATCH_FAULT_STEP=worker.NAME[:PASS]` dies when the step is passed for the PASS-th time (default: the first).
"""

import itertools
import os
import signal

_name, _, _pass = os.environ.get("BUS_WATCH_FAULT_STEP", "").partition(":")
_passes = itertools.count(1)  # `next` of it is atomic: steps are passed by many threads


def step(name: str) -> None:
    """Die here, as by `kill -9`, if the harness asked for it."""
    if _name and _name == f"worker.{name}" and next(_passes) == int(_pass or 1):
        os.kill(os.getpid(), signal.SIGKILL)
