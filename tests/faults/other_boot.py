"""The consumer, as if the machine had been started anew: `python -m tests.faults.other_boot BOOT_ID`."""

import sys

from worker.app import huey


def main() -> None:
    """Run it."""
    huey.engine.identity.boot = sys.argv[1]
    huey.create_consumer(workers=4).run()


if __name__ == "__main__":
    main()
