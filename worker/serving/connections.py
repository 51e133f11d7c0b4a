"""Connections to a server of ours: uvicorn's own, and what it leaves unbounded.

uvicorn 0.54 waits for ever for the rest of a request once its first byte came, and for a client that does not read
its answer; and it knows no classes of callers. Here a request has a total time, and whoever has not shown a valid
token is a *stranger*: strangers share a few places of their own, so that none of them can keep an agent out.
"""

import asyncio
import json
from collections import Counter
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

READ_SECONDS = 10.0
"""From a request's first byte to its last; for a new connection, from its beginning."""

CROWDED_SECONDS = 5.0
"""The same for a stranger while there are more of them than places. A request that was sent is read sooner."""

IDLE_SECONDS = 30
"""Between two requests of an agent. A stranger's connection is closed after its first answer."""

TAKING_SECONDS = 60.0
"""How long a client may take to read what does not fit the buffers between. Ours gives a request up after 40 s."""

LARGEST_HEAD = 16 * 1024
STRANGERS = 64
STRANGERS_AT_ONCE = 1024
"""More than `STRANGERS` may be here for `CROWDED_SECONDS`: a thousand agents that come back at once, after a restart of
the bus, and whose tokens are about to be read."""

AGENTS = 2560
"""Room for a thousand agents with a listener and a kept connection each."""

AN_AGENT = 64
MOST_CONNECTIONS = STRANGERS_AT_ONCE + AGENTS


class Connection(H11Protocol):
    """One connection; a request finds it as `request.state.connection`."""

    def __init__(self, *args: Any, places: "Places", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state = {"connection": self}
        self.agent: str | None = None
        self._places = places
        self._deadline = 0.0
        self._reading: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def belongs_to(self, agent: str | None) -> bool:
        """Whose request is being answered, None for a stranger's; False if that agent may have no more connections."""
        return self._places.give(self, agent)

    @property
    def incomplete(self) -> bool:
        """Whether the rest of a request is to come, or all of the first."""
        return self._reading is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._begin_reading()
        self._places.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_reading()
        if self._stalled is not None:
            self._stalled.cancel()
        self._places.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # h11 checks a head's size only while it is incomplete: by parts, so that a large one cannot come at once.
        for start in range(0, len(data), LARGEST_HEAD):
            if not self.transport.is_closing():
                super().data_received(data[start : start + LARGEST_HEAD])
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._end_reading()
        elif self._reading is None:
            self._begin_reading()

    def _begin_reading(self) -> None:
        self._deadline = self.loop.time() + READ_SECONDS
        patience = min(CROWDED_SECONDS, READ_SECONDS) if self.agent is None else READ_SECONDS
        self._reading = self.loop.call_later(patience, self._still_reading)

    def _still_reading(self) -> None:
        left = self._deadline - self.loop.time()
        if left <= 0 or (self.agent is None and self._places.crowded):
            self._places.leave(self)  # at once, for others may be about to ask whether it is crowded
            self.transport.abort()
        else:
            self._reading = self.loop.call_later(left, self._still_reading)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def shutdown(self) -> None:
        """End after the answer that is being given; one that is ending has no part in it."""
        if not self.transport.is_closing():
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are the same for everything
        """Answer what is no request, or none of a size that we read; uvicorn itself would call all of it a 400."""
        if self.conn.our_state is not h11.IDLE:
            self.transport.abort()  # another request is being answered: this answer would be read as part of that one
            return
        unread, _ = self.conn.trailing_data
        if len(unread) <= LARGEST_HEAD:
            status = HTTPStatus.BAD_REQUEST
        elif b"\n" in unread[:LARGEST_HEAD]:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        else:
            status = HTTPStatus.REQUEST_URI_TOO_LONG
        body = json.dumps({"error": "bad_request", "message": status.phrase}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        answer = h11.Response(status_code=status, headers=headers, reason=status.phrase)
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Places:
    """Who holds how many connections. Used in the server's event loop only."""

    def __init__(self) -> None:
        self._strangers: dict[Connection, None] = {}  # oldest first
        self._agents: Counter[str] = Counter()
        self._taken = 0  # by agents, in all

    @property
    def crowded(self) -> bool:
        """Whether there are more strangers than places for them."""
        return len(self._strangers) > STRANGERS

    def enter(self, connection: Connection) -> None:
        """A new connection is a stranger's; when there are far too many, the one that took longest to ask goes."""
        self._strangers[connection] = None
        if len(self._strangers) > STRANGERS_AT_ONCE:
            slowest = next((one for one in self._strangers if one.incomplete), connection)
            slowest.transport.abort()
            self.leave(slowest)

    def give(self, connection: Connection, agent: str | None) -> bool:
        """Let a connection belong to an agent, or to a stranger again; False, and a stranger's, without a place."""
        if agent is not None and agent == connection.agent:
            return True
        self.leave(connection)
        if agent is None or self._agents[agent] >= AN_AGENT or self._taken >= AGENTS:
            self._strangers[connection] = None
            return agent is None
        connection.agent = agent
        self._agents[agent] += 1
        self._taken += 1
        return True

    def leave(self, connection: Connection) -> None:
        """Give a connection's place back; once is enough."""
        self._strangers.pop(connection, None)
        if connection.agent is not None:
            self._agents[connection.agent] -= 1
            self._taken -= 1
            connection.agent = None
