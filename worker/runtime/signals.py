"""A sleep that a signal ends at once: the main thread's, so that it need not look many times a second."""

import contextlib
import os
import select
import signal


class SignalSleep:
    """One thread sleeps in it; any thread may wake it, and so does each signal that Python has a handler for."""

    def __init__(self) -> None:
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)

    def begin(self) -> None:
        """From now on signals end it; in the main thread only."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def sleep(self, seconds: float) -> None:
        """Sleep for so long, or until somebody wakes us, or has since the last sleep."""
        if select.select([self._woken], [], [], seconds)[0]:
            os.read(self._woken, 4096)

    def wake(self) -> None:
        """End the sleep."""
        with contextlib.suppress(OSError):  # it is full of such, or nobody sleeps in it any more
            os.write(self._wake, b"\0")

    def end(self) -> None:
        """Signals are Python's own matter again."""
        signal.set_wakeup_fd(-1)
        ends, self._woken, self._wake = (self._woken, self._wake), -1, -1
        for end in ends:
            os.close(end)
