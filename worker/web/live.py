"""What all open pages share: one reader of the ledger, however many look, and none while nobody does."""

import asyncio
import json
from collections.abc import AsyncIterator

from worker.errors import BusWatchError
from worker.view.agents import Board
from worker.view.live import REFRESH_SECONDS, Live
from worker.web.model import snapshot

KEEPALIVE_SECONDS = 15.0


class Broadcast:
    """Snapshots as events (SSE). Used in the server's event loop only."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._board: Board | None = None
        self._newest = b""
        self._wake = asyncio.Event()
        self._listeners = 0
        self._reader: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def is_read(self) -> bool:
        """Whether the ledger is read, now and then, for somebody."""
        return self._reader is not None and not self._reader.done()

    def stop(self) -> None:
        """End all streams."""
        self._stopping = True
        self._tell(b"")

    async def events(self) -> AsyncIterator[bytes]:
        """The newest snapshot, and each that is new; whoever is slow to read misses those in between."""
        self._listeners += 1
        try:
            if not self.is_read:
                self._newest = b""  # from before, when somebody looked
                self._live.expire()
                self._reader = asyncio.create_task(self._read_on())
            told = b""
            while not self._stopping:
                wake = self._wake
                if self._newest and self._newest is not told:
                    told = self._newest
                    yield told
                    continue
                try:
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        await wake.wait()
                except TimeoutError:
                    yield b": keepalive\n\n"
        finally:
            self._listeners -= 1

    async def _read_on(self) -> None:
        while self._listeners and not self._stopping:
            self._tell(await asyncio.to_thread(self._read))
            await asyncio.sleep(REFRESH_SECONDS)

    def _read(self) -> bytes:
        """In a thread: a snapshot as an event; what is shown already if there is nothing new."""
        try:
            found = self._live.board()
            self._board = found or self._board
            if self._board is None:
                return self._newest
            looked = self._live.look(self._board, frozenset())
            if found is None and not looked:
                return self._newest
            return _event("board", snapshot(self._live, self._board))
        except BusWatchError as error:
            return _event("trouble", {"words": str(error)})
        except Exception as error:  # noqa: BLE001 - one reading that fails is no reason to read no more, unseen
            return _event("trouble", {"words": f"reading failed ({type(error).__name__}); it is tried again"})

    def _tell(self, event: bytes) -> None:
        if event != self._newest or self._stopping:
            self._newest = event
            self._wake.set()
            self._wake = asyncio.Event()


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
