"""A limit for what the patterns of a profile may cost: a person's own may take for ever on some screen."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from worker.terminal.profiles import ProfileError

MOST = 1.0
"""Seconds of our own computing; a screen is judged in some milliseconds."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """End what takes longer than MOST. Without effect outside of the main thread, where no signal arrives.

    Raises:
        ProfileError: it took too long. `re` lets signals be handled while it searches.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST)  # a loaded machine does not shorten it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _too_long(_number: int, _frame: object) -> None:
    raise ProfileError(
        f"a pattern of its profile takes more than {MOST:.0f} s on this screen: "
        "is there a repeat within a repeat, as in (a+)+ ?"
    )
