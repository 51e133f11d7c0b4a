"""The worker's end of its launcher: many threads run transports through one small process.

What ends is told by one thread, the reader, together with all else that has ended by then: its caller can write
down a hundred endings in one commit, and ask for what comes next in one go, without waking anybody.
"""

import contextlib
import logging
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import worker
from worker.errors import BusWatchError
from worker.process_table import NO_PROC_VARIABLE
from worker.transports import receipt_format
from worker.transports.command import Prepared
from worker.transports.locks import launcher_lock
from worker.transports.receipts import RunResult

logger = logging.getLogger("bus_watch.deliver")

START_SECONDS = 30.0
FAULT_VARIABLE = "BUS_WATCH_FAULT_STEP"

_ROOT = str(Path(worker.__file__).resolve().parent.parent)
_MAIN = (
    "import sys; sys.path.append(sys.argv[1]); from worker.transports.launcher import main; "
    "main(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])"
)


class LauncherGone(BusWatchError):  # noqa: N818 - a state that is met, in the words of docs/protocol.md#launcher
    """The launcher has died; what it had started settles by recovery, and this worker must end."""

    code = "launcher-gone"


class Request(NamedTuple):
    """What to run as an attempt; `timeout` in seconds.

    It never starts after `start_by` (seconds of the steady clock).
    """

    attempt_id: str
    prepared: Prepared
    timeout: float
    start_by: float = math.inf
    tail_bytes: int = 4096


class RunEnded(NamedTuple):
    """How an attempt ended; no outcome: the launcher died first."""

    attempt_id: str
    outcome: RunResult | None


class LauncherClient:
    """The worker's end of one launcher process.

    `start` it once; `ask` from any number of threads; `close` lets it go on until what it runs has ended.
    `on_ended` is called by the reader with all that has ended since its last call: each attempt that was asked for is
    told exactly once. While it works no other ending is heard. `on_death` is called once, by the reader, when the
    launcher died without being asked to.
    """

    def __init__(
        self,
        directory: Path,
        worker_id: str,
        on_ended: Callable[[list[RunEnded]], None],
        *,
        on_death: Callable[[], None] | None = None,
    ) -> None:
        self.directory = directory
        self.worker_id = worker_id
        self.on_ended = on_ended
        self.on_death: Callable[[], None] = on_death or (lambda: None)
        self.pid = 0
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ready = threading.Event()
        self._open = False
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def alive(self) -> bool:
        """Whether it can be asked: started, not closed, not dead."""
        return self._open

    @property
    def lock_path(self) -> Path:
        """The lock that the launcher holds for life."""
        return Path(launcher_lock(self.directory, self.worker_id))

    def start(self) -> None:
        """Start the process and wait until it serves; LauncherGone when it does not."""
        ours, theirs = socket.socketpair()
        with theirs:
            # Its environment is empty: the token may be in ours, and it would pass on whatever it had.
            switch = {name: "1" for name in (NO_PROC_VARIABLE,) if name in os.environ}
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _MAIN, _ROOT, str(self.directory.absolute()),
                self.worker_id, str(theirs.fileno()), os.environ.get(FAULT_VARIABLE, "")],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=switch, close_fds=True, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self._socket = ours
        self.pid = self._process.pid
        self._open = True
        threading.Thread(target=self._read, args=(ours,), name="launcher-events", daemon=True).start()
        if not self._ready.wait(START_SECONDS) or not self._open:
            self.close()
            raise self.gone()

    def ask(self, requests: Sequence[Request]) -> None:
        """Have transports run; `on_ended` says how they ended. LauncherGone: none is started, nor told about."""
        frames = b"".join(
            receipt_format.frame((one.attempt_id, *one.prepared, float(one.timeout), one.tail_bytes, one.start_by))
            for one in requests
        )
        with self._lock:
            if not self._open or self._socket is None:
                raise self.gone()
            self._asked.update(one.attempt_id for one in requests)
        try:
            with self._sending:
                self._socket.sendall(frames)
        except OSError:
            return  # it is dying: the reader sees the end too, and tells

    def keep_folder(self) -> None:
        """Somebody removed the folder, and it is there again: let the launcher put back what it keeps in it."""
        with contextlib.suppress(OSError), self._sending:  # where it is dying: the reader sees the end too
            if self._open and self._socket is not None:
                self._socket.sendall(receipt_format.frame(receipt_format.KEEP_FOLDER))

    def close(self) -> None:
        """Ask for nothing more. What runs goes on, and is still told about."""
        with self._lock:
            self._closing = True
            self._open = False
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def join(self, timeout: float | None = None) -> None:
        """Wait for the process to end; subprocess.TimeoutExpired after `timeout` seconds."""
        if self._process is not None:
            self._process.wait(timeout)

    def _read(self, source: socket.socket) -> None:
        """Tell what ends, until the launcher is gone; then that the rest will not be heard of."""
        deaf = False
        try:
            self._listen(source)
        except Exception:  # a defect of ours: without this thread nothing is delivered, so the worker must end
            logger.exception("what the launcher says cannot be used")
            deaf = True
        with self._lock:
            self._open = False
            left, self._asked = self._asked, set()
        if self._process is not None and not deaf:
            self._process.wait()
        self._ready.set()
        with self._sending:
            source.close()
        if not self._closing or deaf:
            self.on_death()
        if left:
            self.on_ended([RunEnded(attempt_id, None) for attempt_id in left])

    def _listen(self, source: socket.socket) -> None:
        buffer = bytearray()
        while True:
            try:
                data = source.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            buffer += data
            ended = [one for event in receipt_format.take_frames(buffer) if (one := self._hear(event))]
            if ended:
                self.on_ended(ended)

    def _hear(self, event: Any) -> RunEnded | None:
        kind, name, *rest = event
        if kind == "ready":
            self._ready.set()
            return None
        self._asked.discard(name)
        if kind == "ended":
            return RunEnded(name, RunResult(*rest))
        return RunEnded(name, RunResult(kind, *rest))

    def gone(self) -> LauncherGone:
        """That there is no launcher any more, with its last words if it had any."""
        try:
            words = self.lock_path.read_text(encoding="utf-8").strip().splitlines()
        except OSError:
            words = []
        why = f" ({words[-1]})" if words else ""
        return LauncherGone(
            f"the launcher is gone{why}; restart the worker: what was running settles from its receipts"
        )
