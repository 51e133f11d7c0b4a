"""Text messages over a WebSocket (RFC 6455) on a connected stream, with a deadline for each; `wsproto` knows the rest.

The server's pings are answered while a message is waited for; none is sent, since a busy Codex answers them late.
"""

import socket
import time

from worker.errors import BusWatchError
from worker.terminal.channels.channel import AsideError, DriftError

_MAX_MESSAGE = 64 * 1024 * 1024  # characters; the list of a long thread's turns is some of them


class BrokenError(BusWatchError):
    """The connection broke, or nothing came in time."""

    code = "connection"
    exit_status = 76


class UnsentError(BrokenError):
    """The connection broke before a message was written whole: the other end can know nothing of it."""

    code = "unsent"


class ShapeError(BrokenError):
    """What came is not of the shape that was measured."""

    code = "shape"


class WebSocket:
    """One connection, as a client."""

    def __init__(self, link: socket.socket, until: float) -> None:
        """Shake hands, by `until` on the monotonic clock.

        Raises:
            AsideError: `wsproto` is not installed, or the other end does not answer.
            DriftError: it does not speak WebSocket.
        """
        try:
            from wsproto import ConnectionType, WSConnection, events  # noqa: PLC0415 - an extra, and slow to load
        except ImportError:
            raise AsideError("it needs the extra `native`: pip install 'bus-watch[native]'") from None
        self._link, self._events = link, events
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._parts: list[str] = []
        self._size = 0
        self._waiting: list[str] = []
        self._accepted = False
        try:
            self._write(self._protocol.send(events.Request(host="localhost", target="/")), until)
            while not self._accepted:
                self._read(until)
        except ShapeError as why:
            raise DriftError(str(why)) from None
        except BrokenError as why:
            raise AsideError(str(why)) from None

    def send(self, text: str, until: float) -> None:
        """Send one message. UnsentError: not whole; whether one that was written arrives is not known."""
        try:
            self._write(self._protocol.send(self._events.TextMessage(text)), until)
        except BrokenError as why:
            raise UnsentError(str(why)) from None

    def receive(self, until: float) -> str:
        """The next message. BrokenError: none came in time, or the connection broke."""
        while not self._waiting or time.monotonic() > until:  # what comes without end is no answer either
            self._read(until)
        return self._waiting.pop(0)

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def _write(self, data: bytes, until: float) -> None:
        try:
            self._link.settimeout(max(0.05, until - time.monotonic()))
            self._link.sendall(data)
        except OSError as why:
            raise BrokenError(f"the connection broke: {why.strerror or why}") from None

    def _read(self, until: float) -> None:
        if (left := until - time.monotonic()) <= 0:
            raise BrokenError("no answer came in time")
        try:
            self._link.settimeout(left)
            data = self._link.recv(65536)
        except TimeoutError:
            raise BrokenError("no answer came in time") from None
        except OSError as why:
            raise BrokenError(f"the connection broke: {why.strerror or why}") from None
        try:
            self._protocol.receive_data(data or None)
            for event in self._protocol.events():
                self._handle(event, until)
        except BrokenError:
            raise
        except Exception as why:  # noqa: BLE001 - wsproto and h11 raise many kinds for what is no WebSocket
            raise ShapeError(f"what came is no WebSocket: {type(why).__name__}") from None
        if not data:
            raise BrokenError("the other end closed the connection")

    def _handle(self, event: object, until: float) -> None:
        events = self._events
        if isinstance(event, events.AcceptConnection):
            self._accepted = True
        elif isinstance(event, events.TextMessage):
            self._take(event.data, finished=event.message_finished)
        elif isinstance(event, events.Ping):
            self._write(self._protocol.send(event.response()), until)
        elif isinstance(event, events.RejectConnection):
            raise ShapeError(f"it refuses to speak WebSocket (HTTP {event.status_code})")
        elif isinstance(event, events.CloseConnection):
            raise BrokenError("the other end closed the connection")

    def _take(self, part: str, *, finished: bool) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > _MAX_MESSAGE:
            raise BrokenError("a message is far too long")
        if finished:
            self._waiting.append("".join(self._parts))
            self._parts, self._size = [], 0
