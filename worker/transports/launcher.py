"""The launcher: starts transports for one worker, outlives it, and leaves each exit status in a receipt.

A process of its own: own session, one thread, one loop. `main` runs in it; `worker.transports.client` is its other end.
It imports next to nothing, so that it stays small and starts fast. See `records` for its files and frames.

For each request, in this order: what can fail for want of space or descriptors is made first (output pipe, standard input,
receipt at its full size), so that nothing has run when it fails; then the note with `O_EXCL`, from which moment the attempt
counts as started; then the transport. When the transport's own process ends (what it leaves behind may hold the pipe as long
as it likes), its tail and status go into the receipt, fsynced, and then to the worker.

Signals that stop a worker do not stop it. When the worker's end of the socket closes it takes no new requests and goes on
until its last transport has ended and its last receipt is written.
"""

import errno
import os
import select
import signal
import socket
import sys
import time

from worker.transports import records, sessions
from worker.transports.locks import boot_id, hold_lock

READ_BYTES = 65536
LAST_READS = 32  # bounds what is still read of a transport that has ended while something else floods its pipe
KILL_EVERY = 0.01  # seconds between two looks at a session that is being killed
KILL_PATIENCE = 5.0  # seconds to wait for unkillable leftovers once the transport itself has ended
WRITE_AGAIN = 1.0  # seconds between two tries to write a receipt that the disk refuses
WRITE_TRIES = 60

_RESET = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ]
_NONE = -1


class _Child:
    """One transport from its start to its receipt."""

    __slots__ = (
        "attempt", "deadline", "ended_at", "leftovers_until", "output", "pid", "receipt", "start", "started_at",
        "status", "tail", "tail_bytes", "timed_out", "tries",
    )  # fmt: skip

    def __init__(self, attempt: str, receipt: int, output: int, timeout: float, tail_bytes: int) -> None:
        self.attempt = attempt
        self.receipt = receipt
        self.output = output
        self.tail_bytes = tail_bytes
        self.tail = b""
        self.pid = 0
        self.start = ""
        self.started_at = time.time()
        self.ended_at = 0.0
        self.deadline = time.monotonic() + timeout
        self.leftovers_until = 0.0
        self.status: int | None = None
        self.timed_out = False
        self.tries = 0

    def keep(self, data: bytes) -> None:
        """Remember the last `tail_bytes` of what the transport prints."""
        self.tail = (self.tail + data)[-self.tail_bytes :] if self.tail_bytes else b""

    def outcome(self) -> tuple[str, int]:
        """`(kind, code)` by the real wait status: an exit that raced the time-out's kill counts as the exit it is."""
        status = self.status or 0
        if os.WIFEXITED(status):
            return "exit", os.WEXITSTATUS(status)
        return ("timeout" if self.timed_out else "signal"), os.WTERMSIG(status)


class Launcher:
    """The loop. `run` returns when the worker is gone and nothing is left to wait for."""

    def __init__(self, directory: str, worker: socket.socket, *, fault: str = "") -> None:
        self._directory = directory
        self._worker = worker
        self._worker.setblocking(False)
        self._listening = True  # the worker may still send
        self._speaking = True  # the worker may still read
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._boot = boot_id()
        self._children: dict[int, _Child] = {}  # by pid
        self._outputs: dict[int, _Child | None] = {}  # by descriptor; None: only a background process is left on it
        self._overdue: dict[int, _Child] = {}  # by pid: sessions that are being killed
        self._unwritten: list[_Child] = []
        self._wake_at = float("inf")
        self._fault = fault
        self._poll = select.poll()
        self._watched = 0  # the events of the worker's socket that poll looks for
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        self._poll.register(self._woken, select.POLLIN)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._say(("ready", os.getpid()))
        self._send()
        self._watch_worker()

    def run(self) -> None:
        """Serve until the worker is gone, the last transport has ended and the last receipt is written."""
        while self._listening or self._children or self._overdue or self._unwritten:
            for descriptor, _ in self._poll.poll(self._patience()):
                if descriptor in self._outputs:
                    self._read_output(descriptor)
                elif descriptor == self._woken:
                    _read(self._woken)
                else:
                    self._hear()
            self._reap()
            if time.monotonic() >= self._wake_at:
                self._keep_time()
            self._send()
            self._watch_worker()

    # -- the worker's end ------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Read requests, to the end; once the worker's end is closed, those that were not yet started never will be."""
        while self._listening:
            try:
                data = self._worker.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._listening = False
                self._incoming.clear()
                return
            self._incoming += data
        for request in records.take_frames(self._incoming):
            self._start(*request)  # type: ignore[misc]  # marshal has no types; the client sends exactly these

    def _say(self, event: tuple[object, ...]) -> None:
        """Tell the worker, if it still listens; what it cannot take now waits (bounded by the attempts in flight)."""
        if self._speaking:
            self._outgoing += records.frame(event)

    def _send(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._worker.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:  # it died; its successor reads the receipts
            self._speaking = False
            self._outgoing.clear()

    def _watch_worker(self) -> None:
        wanted = (select.POLLIN if self._listening else 0) | (select.POLLOUT if self._outgoing else 0)
        if wanted == self._watched:
            return
        if wanted:
            self._poll.register(self._worker, wanted)
        else:
            self._poll.unregister(self._worker)
        self._watched = wanted

    # -- starting --------------------------------------------------------------------------------------------------

    def _start(
        self,
        attempt: str,
        argv: list[bytes],
        environment: dict[bytes, bytes],
        standard_input: bytes | None,
        timeout: float,
        tail_bytes: int,
    ) -> None:
        path = f"{self._directory}/{attempt}"
        made: list[int] = []
        try:
            output, write_end = os.pipe()
            made += [output, write_end]
            given = _NONE
            if standard_input is not None:
                given = _unnamed_file(path + ".stdin", standard_input)
                made.append(given)
            receipt = os.open(path + ".receipt", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            made.append(receipt)
            try:
                # Written, not fallocated: as safe against a full disk, and 9 us instead of 75 us on ext4.
                _write_all(receipt, bytes(records.LINE_BYTES + tail_bytes), 0)
                self._step("after_receipt_presized")
                note = os.open(path + ".note", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError:
                os.unlink(path + ".receipt")
                raise
            made.append(note)
        except OSError as error:
            _close(made)
            if error.errno == errno.EEXIST:
                self._say(("void", attempt))
            else:
                self._say(("not_started", attempt, error.errno or errno.EIO))
            return
        self._step("after_note")
        child = _Child(attempt, receipt, output, timeout, tail_bytes)
        actions = [(os.POSIX_SPAWN_DUP2, write_end, 1), (os.POSIX_SPAWN_DUP2, write_end, 2)]
        if given != _NONE:
            actions.append((os.POSIX_SPAWN_DUP2, given, 0))
        try:
            child.pid = os.posix_spawn(
                argv[0], argv, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET
            )
        except OSError as error:
            _close([output, write_end, note, *([] if given == _NONE else [given])])
            child.output = _NONE
            self._finish([child], ("spawn_error", error.errno or errno.EIO))
            return
        self._step("after_spawn")
        _close([write_end] if given == _NONE else [write_end, given])
        # Even if it has ended already its start time can be read: it is a zombie until it is reaped here.
        child.start = sessions.start_time(child.pid) or ""
        try:
            os.write(note, records.note_line(child.pid, child.start))
        except OSError:
            pass  # only recovery after the launcher's own death would have read it
        os.close(note)
        self._step("after_note_recorded")
        os.set_blocking(output, False)
        self._children[child.pid] = child
        self._outputs[output] = child
        self._poll.register(output, select.POLLIN)
        self._wake_at = min(self._wake_at, child.deadline)

    # -- running ---------------------------------------------------------------------------------------------------

    def _read_output(self, descriptor: int) -> bool:
        """One read, so that no chatty transport takes more than its turn; False when there is nothing (more) to read."""
        data = _read(descriptor)
        if data is None:
            return False
        child = self._outputs[descriptor]
        if data:
            if child:
                child.keep(data)
            return True
        self._poll.unregister(descriptor)
        del self._outputs[descriptor]
        os.close(descriptor)
        if child:
            child.output = _NONE
        return False

    def _patience(self) -> float | None:
        """Milliseconds that poll may wait, None for as long as it takes."""
        if self._wake_at == float("inf"):
            return None
        return max(0.0, self._wake_at - time.monotonic()) * 1000 + 1

    def _keep_time(self) -> None:
        """What is due: sessions past their time-out, receipts that could not be written; sets the next alarm."""
        now = time.monotonic()
        for pid, child in self._children.items():
            if child.deadline <= now:
                child.timed_out = True
                self._overdue[pid] = child
        if self._overdue:
            self._kill_overdue(now)
        if self._unwritten:
            again, self._unwritten = self._unwritten, []
            self._write(again)
        alarms = [child.deadline for child in self._children.values() if not child.timed_out]
        if self._overdue:
            alarms.append(now + KILL_EVERY)
        if self._unwritten:
            alarms.append(now + WRITE_AGAIN)
        self._wake_at = min(alarms, default=float("inf"))

    def _kill_overdue(self, now: float) -> None:
        """Kill what is left of each overdue session; one that is empty, its transport reaped, is finished."""
        alive = sessions.members(set(self._overdue))
        finished = []
        for pid, child in list(self._overdue.items()):
            left = alive.get(pid, [])
            if child.status is None:
                sessions.kill(left)
                continue
            reused = pid in left  # ours was reaped: whoever has this number now is not ours
            if left and not reused and now < child.leftovers_until:
                sessions.kill(left)
                continue
            del self._overdue[pid]
            finished.append(child)
        if finished:
            self._finish(finished)

    def _reap(self) -> None:
        """Take the status of every transport that has ended."""
        ended = []
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self._children.pop(pid, None)
            if child is None:
                continue
            child.status = status
            child.ended_at = time.time()
            if child.timed_out:
                child.leftovers_until = time.monotonic() + KILL_PATIENCE
            else:
                ended.append(child)
        if ended:
            self._finish(ended)

    # -- ending ----------------------------------------------------------------------------------------------------

    def _finish(self, children: list[_Child], outcome: tuple[str, int] | None = None) -> None:
        """Write the receipts of transports that have ended, then tell the worker."""
        for child in children:
            if child.output in self._outputs:
                for _ in range(LAST_READS):
                    if not self._read_output(child.output):
                        break
                if child.output in self._outputs:
                    self._outputs[child.output] = (
                        None  # a background process holds it: read on, so that it never breaks
                    )
        self._write(children, outcome)
        for child in children:
            kind, code = outcome or child.outcome()
            self._say(
                (
                    "ended",
                    child.attempt,
                    kind,
                    code,
                    child.started_at,
                    child.ended_at or time.time(),
                    child.pid,
                    child.tail,
                )
            )

    def _write(self, children: list[_Child], outcome: tuple[str, int] | None = None) -> None:
        """Complete these receipts: the tail first, then the line that makes them count, then fsync."""
        self._step("before_receipt_write")
        written = []
        for child in children:
            kind, code = outcome or child.outcome()
            line = records.receipt_line(
                boot=self._boot, kind=kind, code=code, started_at=child.started_at,
                ended_at=child.ended_at or time.time(), pid=child.pid, tail_length=len(child.tail),
            )  # fmt: skip
            try:
                if child.tail:
                    _write_all(child.receipt, child.tail, records.LINE_BYTES)
                _write_all(child.receipt, line, 0)
            except OSError:
                child.tries += 1
                if child.tries < WRITE_TRIES and outcome is None:
                    self._unwritten.append(child)
                    self._wake_at = min(self._wake_at, time.monotonic() + WRITE_AGAIN)
                continue
            written.append(child)
        self._step("after_receipt_write")
        for child in written:
            try:
                os.fsync(child.receipt)
            except OSError:
                pass  # the line stands in the page cache; what fsync protects from is a power loss
            os.close(child.receipt)
        self._step("after_receipt_fsync")

    def _step(self, name: str) -> None:
        """Die here if a fault harness asked for it when it started this process (`launcher.NAME:kill[:PASS]`)."""
        if self._fault and self._fault.startswith(f"launcher.{name}:kill"):
            passes = int(self._fault.rpartition(":kill")[2].lstrip(":") or 1) - 1
            if passes <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._fault = f"launcher.{name}:kill:{passes}"


def _read(descriptor: int) -> bytes | None:
    """What can be read now: None when nothing yet, empty at the end."""
    try:
        return os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    """All of `data` at `offset`, or OSError: a short write means that the space has run out."""
    if os.pwrite(descriptor, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unnamed_file(path: str, data: bytes) -> int:
    """A descriptor that reads `data` and then ends: a transport that never reads cannot block anybody."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)
        _write_all(descriptor, data, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def main(directory: str, worker_id: str, descriptor: int, fault: str) -> None:
    """Be the launcher of one worker: hold its lock for life, serve, take the lock file away.

    A failure of our own ends up as text in the lock file, because nobody reads this process's standard error.
    """
    lock_path = f"{directory}/{worker_id}.launcher"
    lock = hold_lock(lock_path)
    try:
        Launcher(directory, socket.socket(fileno=descriptor), fault=fault).run()
    except BaseException:
        import traceback  # noqa: PLC0415 - only a dying launcher pays for it

        os.write(lock, traceback.format_exc().encode("utf-8", "replace"))
        sys.exit(70)
    os.unlink(lock_path)
