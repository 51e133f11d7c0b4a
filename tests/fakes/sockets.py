"""What the fakes of agents' sockets share."""

import contextlib
import socket
import threading
from collections.abc import Callable


def serve(listener: socket.socket, talk: Callable[[socket.socket], None]) -> None:
    """Talk to whoever connects, each in a thread of its own, until the listener is closed."""

    def accept() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def stop(listener: socket.socket) -> None:
    """Close it, and wake who waits at it: closed alone, it would accept from the next socket that gets its number."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
