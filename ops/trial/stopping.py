"""An interrupted trial: whoever is in the middle of a round unwinds, and ends what it started on the way."""

import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STOPPED = threading.Event()


class StoppedError(Exception):
    """The trial was interrupted."""


def go_on() -> None:
    """Raises StoppedError if the trial was interrupted: to be asked wherever something is waited for or started."""
    if STOPPED.is_set():
        raise StoppedError


def listen() -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt in the main thread, once."""
    for number in SIGNALS:
        signal.signal(number, _stop)


def _stop(number: int, frame: object) -> None:
    del frame
    STOPPED.set()
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second one would interrupt the cleaning
    raise KeyboardInterrupt(signal.Signals(number).name)
