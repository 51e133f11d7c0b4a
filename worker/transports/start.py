"""What one attempt's program gets, and its plain start.

The launcher imports this, so it imports next to nothing.
"""

import os
import signal

from worker.transports import receipt_format

NONE = -1

# All that a process can ignore: we ignore some, Python some, and whoever started the worker perhaps others.
RESET = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Start:
    """A program that is to run: its argv, its environment and its ends of what is made for it, until it has them."""

    __slots__ = ("_reading", "argv", "environment", "given", "output")

    def __init__(self, argv: list[bytes], environment: dict[bytes, bytes]) -> None:
        self.argv, self.environment = argv, environment
        self.output = self.given = self._reading = NONE

    def make(self, path: str, standard_input: bytes | None) -> int:
        """Make a pipe for its output, and its standard input by way of a file `path`, if there is any.

        Returns:
            The descriptor to read its output from.

        Raises:
            OSError: `unmake` closes what was made.
        """
        self._reading, self.output = os.pipe()
        if standard_input is not None:
            self.given = _unnamed_file(path, standard_input)
        return self._reading

    def spawn(self) -> int:
        """Start it in a session of its own; its pid. Raises OSError."""
        actions = [(os.POSIX_SPAWN_DUP2, self.output, 1), (os.POSIX_SPAWN_DUP2, self.output, 2)]
        if self.given != NONE:
            actions.append((os.POSIX_SPAWN_DUP2, self.given, 0))
        return os.posix_spawn(
            self.argv[0], self.argv, self.environment,
            file_actions=actions, setsid=True, setsigmask=(), setsigdef=RESET,
        )  # fmt: skip

    def close(self) -> None:
        """Close the program's ends: it has them."""
        for descriptor in (self.output, self.given):
            if descriptor != NONE:
                os.close(descriptor)

    def unmake(self) -> None:
        """It will not run: close our end too."""
        self.close()
        if self._reading != NONE:
            os.close(self._reading)


def _unnamed_file(path: str, data: bytes) -> int:
    """A descriptor that reads `data` and then ends: a transport that never reads cannot block anybody."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)  # noqa: PTH108 - no pathlib here
        receipt_format.write_all(descriptor, data, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
