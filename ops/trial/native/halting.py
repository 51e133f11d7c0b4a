"""`wake` that stops itself at a step, until it is told to go on: python -m ops.trial.native.halting STEP ARGUMENTS."""

import os
import signal
import sys

from worker import fault_steps


def main() -> int:
    """Run `wake` so."""
    _, wanted, *arguments = sys.argv

    def step(name: str) -> None:
        if name == wanted:
            os.kill(os.getpid(), signal.SIGSTOP)

    fault_steps.step = step  # before whoever imports it by name
    from worker.terminal import wake  # noqa: PLC0415 - for that reason

    return wake.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
