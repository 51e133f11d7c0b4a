"""The worker's end of its launcher: many threads run transports through one small process."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import worker
from worker.errors import BusWatchError
from worker.transports import records
from worker.transports.command import Prepared
from worker.transports.receipts import Outcome

START_SECONDS = 30.0
FAULT_VARIABLE = "BUS_WATCH_FAULT_STEP"

_ROOT = str(Path(worker.__file__).resolve().parent.parent)
_MAIN = (
    "import sys; sys.path.append(sys.argv[1]); from worker.transports.launcher import main; "
    "main(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])"
)


class LauncherGone(BusWatchError):  # noqa: N818 - a state that is met, named as design and protocol name it
    """The launcher has died; what it had started settles by recovery, and this worker must end."""

    code = "launcher-gone"


class _Waiter:
    """A thread that waits for the outcome of one attempt."""

    __slots__ = ("lock", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.lock = threading.Lock()
        self.lock.acquire()


class Launcher:
    """One launcher process and the threads that wait for it.

    `start` it once; `run` from any number of threads; `close` lets it go on until what it runs has ended.
    `on_death` is called once, from the reader's thread, when it died without being asked to.
    """

    def __init__(self, directory: Path, worker_id: str, *, on_death: Callable[[], None] | None = None) -> None:
        self.directory = directory
        self.worker_id = worker_id
        self.on_death: Callable[[], None] = on_death or (lambda: None)
        self.pid = 0
        self._waiting: dict[str, _Waiter] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ready = threading.Event()
        self._open = False
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def alive(self) -> bool:
        """Whether `run` can be used: started, not closed, not dead."""
        return self._open

    @property
    def lock_path(self) -> Path:
        """The lock that the launcher holds for life."""
        return self.directory / f"{self.worker_id}.launcher"

    def start(self) -> None:
        """Start the process and wait until it serves; LauncherGone when it does not."""
        ours, theirs = socket.socketpair()
        with theirs:
            # Its environment is empty: the token may be in ours, and it would pass on whatever it had.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _MAIN, _ROOT, str(self.directory.absolute()),
                self.worker_id, str(theirs.fileno()), os.environ.get(FAULT_VARIABLE, "")],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={}, close_fds=True, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self._socket = ours
        self.pid = self._process.pid
        self._open = True
        threading.Thread(target=self._read, args=(ours,), name="launcher-events", daemon=True).start()
        if not self._ready.wait(START_SECONDS) or not self._open:
            self.close()
            raise LauncherGone(self._epitaph())

    def run(self, attempt_id: str, prepared: Prepared, timeout: float, tail_bytes: int = 4096) -> Outcome:
        """Run one transport to its end; `timeout` in seconds. LauncherGone when the launcher dies first."""
        request = records.frame((attempt_id, prepared.argv, prepared.env, prepared.stdin, float(timeout), tail_bytes))
        waiter = _Waiter()
        with self._lock:
            if not self._open or self._socket is None:
                raise LauncherGone(self._epitaph())
            self._waiting[attempt_id] = waiter
        try:
            with self._sending:
                self._socket.sendall(request)
        except OSError:
            pass  # it is dying: the reader sees the end too, and wakes this thread with all others
        waiter.lock.acquire()
        if waiter.outcome is None:
            raise LauncherGone(self._epitaph())
        return waiter.outcome

    def close(self) -> None:
        """Ask for nothing more. What runs goes on, and threads that wait still get their outcomes."""
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
        """Hand each event to the thread that waits for it; at the end wake all that still wait."""
        buffer = bytearray()
        while True:
            try:
                data = source.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                break
            buffer += data
            for event in records.take_frames(buffer):
                self._dispatch(event)
        with self._lock:
            self._open = False
            left, self._waiting = self._waiting, {}
        if self._process is not None:
            self._process.wait()
        for waiter in left.values():
            waiter.lock.release()
        self._ready.set()
        with self._sending:
            source.close()
        if not self._closing:
            self.on_death()

    def _dispatch(self, event: Any) -> None:
        kind, name, *rest = event
        if kind == "ready":
            self._ready.set()
            return
        with self._lock:
            waiter = self._waiting.pop(name, None)
        if waiter is None:
            return
        if kind == "ended":
            how, code, started_at, ended_at, pid, tail = rest
            waiter.outcome = Outcome(how, code, started_at, ended_at, pid, tail)
        else:
            waiter.outcome = Outcome(kind, rest[0] if rest else 0)
        waiter.lock.release()

    def _epitaph(self) -> str:
        """Why there is no launcher: its last words, when it had any."""
        try:
            words = self.lock_path.read_text(encoding="utf-8").strip().splitlines()
        except OSError:
            words = []
        why = f" ({words[-1]})" if words else ""
        return f"the launcher is gone{why}; restart the worker: what was running settles from its receipts"
