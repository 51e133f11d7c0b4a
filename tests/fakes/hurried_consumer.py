"""`huey_consumer worker.app.huey` whose leases are young for a moment only.

python -m tests.fakes.hurried_consumer [huey_consumer's options]
"""

import sys

from worker.engine import turns

YOUNG_SECONDS = 3.0  # while a lease is so young each request is written down, in case the worker dies


def main() -> None:
    """Run it."""
    turns.YOUNG_SECONDS = YOUNG_SECONDS
    sys.argv[1:] = ["worker.app.huey", *sys.argv[1:]]
    from huey.bin import huey_consumer

    huey_consumer.consumer_main()


if __name__ == "__main__":
    main()
