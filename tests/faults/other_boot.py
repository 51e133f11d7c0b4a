"""The consumer, as if the machine had been started anew: `python -m tests.faults.other_boot BOOT_ID`."""

import sys

from worker.app import from_environment


def main() -> None:
    """Run it."""
    program = from_environment()
    program.engine.identity.boot = sys.argv[1]
    program.huey.create_consumer(workers=4).run()


if __name__ == "__main__":
    main()
