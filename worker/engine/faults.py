"""Named steps at which the fault harness kills this process. Without the harness a step does nothing."""

import os
import signal

_STEP = os.environ.get("BUS_WATCH_FAULT_STEP", "")


def step(name: str) -> None:
    """Die here, as by `kill -9`, if the harness asked for it."""
    if _STEP and _STEP == f"worker.{name}":
        os.kill(os.getpid(), signal.SIGKILL)
