"""The launcher's end of the socket to its worker: requests come in, what became of them goes out; it never blocks.

The launcher imports this, so it imports next to nothing.
"""

import select
import socket

from worker.transports import receipt_format

READ_BYTES = 65536


class WorkerEnd:
    """Whole frames both ways. `listening` ends when the worker is gone; what it cannot take now waits."""

    def __init__(self, worker: socket.socket, poll: select.poll) -> None:
        self._socket = worker
        self._socket.setblocking(False)
        self.listening = True  # the worker may still send
        self._speaking = True  # the worker may still read
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._poll = poll
        self._watched = 0  # the events that poll looks for

    def hear(self) -> list[object]:
        """All requests that have come; none once the worker is gone."""
        while self.listening:
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.listening = False
                self._incoming.clear()
            self._incoming += data
        return receipt_format.take_frames(self._incoming)

    def say(self, event: tuple[object, ...]) -> None:
        """Tell the worker at the next `send`; what waits is bounded by the attempts in flight."""
        if self._speaking:
            self._outgoing += receipt_format.frame(event)

    def send(self) -> None:
        """Send what the worker can take now, and have poll look for what is to come."""
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:  # it died; its successor reads the receipts
            self._speaking = False
            self._outgoing.clear()
        wanted = (select.POLLIN if self.listening else 0) | (select.POLLOUT if self._outgoing else 0)
        if wanted == self._watched:
            return
        if wanted:
            self._poll.register(self._socket, wanted)
        else:
            self._poll.unregister(self._socket)
        self._watched = wanted
