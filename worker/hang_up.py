"""A hang-up signal while the worker starts: it is to read its configuration again, and that it does anyway."""

import signal
import threading


def hold() -> None:
    """Let no SIGHUP end this process from here on; what it asks for, the start is about to do.

    By a handler and not by SIG_IGN, which the programs that we start would inherit. One that was ignored already
    (nohup), or that somebody handles, stays as it is.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: None)
