"""`huey_consumer worker.app.huey` whose leases are young for a moment only, which sweeps and looks for alerts often.

python -m tests.fakes.hurried_consumer [huey_consumer's options]
"""

import sys

from worker.engine import alerting, turns
from worker.runtime import due

YOUNG_SECONDS = 3.0  # while a lease is so young each request is written down, in case the worker dies
SWEEP_SECONDS = LOOK_SECONDS = 0.3


def main() -> None:
    """Run it."""
    turns.YOUNG_SECONDS = YOUNG_SECONDS
    due.SWEEP_SECONDS, alerting.LOOK_SECONDS = SWEEP_SECONDS, LOOK_SECONDS
    sys.argv[1:] = ["worker.app.huey", *sys.argv[1:]]
    from huey.bin import huey_consumer

    huey_consumer.consumer_main()


if __name__ == "__main__":
    main()
