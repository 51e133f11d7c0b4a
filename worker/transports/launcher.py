"""The launcher: starts transports for one worker, outlives it, and leaves each exit status in a receipt.

A process of its own: own session, one thread, one loop. `main` runs in it; `worker.transports.client` is
its other end. It imports next to nothing, so that it stays small and starts fast. See `receipt_format` for its
files and frames.

For each request, in this order (docs/protocol.md#launcher): what can fail for want of space or descriptors is made
first (output pipe, standard input, a file for the receipt at its full size), so that nothing has run when it fails;
then that file gets the note's name, unless there is one, from which moment the attempt counts as started; then the
transport, unless it is too late by then: nothing starts after the moment that the request names, however long this
process stood still, so that others can tell when an attempt must be over. When the transport's own process ends (what
it leaves behind may hold the pipe as long as it likes), its tail and status go into the receipt, then to the worker.

Signals that stop a worker do not stop it. When the worker's end of the socket closes it takes no new
requests and goes on until its last transport has ended and its last receipt is written.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import sys
import time

from worker.steady_clock import steady
from worker.transports import receipt_format, sessions
from worker.transports.locks import hold_lock, is_held_at, launcher_lock
from worker.transports.receipt_pool import ReceiptFile, ReceiptPool
from worker.transports.start import Start
from worker.transports.warm import Warm
from worker.transports.worker_end import WorkerEnd
from worker.transports.writer import Child, Faults, Writer

READ_BYTES = 65536
HEAR_AFTER = (
    0.01  # seconds: what a transport prints before is read at its end, or then; most have ended, and print nothing
)
LAST_READS = 32  # bounds what is still read of a transport that has ended while something else floods its pipe
KILL_EVERY = 0.01  # seconds between two looks at a session that is being killed
KILL_PATIENCE = 5.0  # seconds to wait for unkillable leftovers once the transport itself has ended


class Launcher:
    """The loop. `run` returns when the worker is gone and nothing is left to wait for."""

    def __init__(self, directory: str, worker_id: str, worker: socket.socket, lock: int, *, fault: str = "") -> None:
        self._directory = directory
        self._lock = lock
        self._lock_path = launcher_lock(directory, worker_id)
        self._poll = select.poll()
        self._worker = WorkerEnd(worker, self._poll)
        self._children: dict[int, Child] = {}  # by pid
        self._unnamed: list[Child] = []  # started, and not yet named in their notes
        self._outputs: dict[int, Child | None] = {}  # by descriptor; None: only a background process is left on it
        self._overdue: dict[int, Child] = {}  # by pid: sessions that are being killed
        self._unheard: dict[int, float] = {}  # those of them that poll does not look at yet, and from when on it does
        self._faults = Faults(fault)
        self._start_clock = sessions.StartClock()
        self._warm = Warm(self._faults)
        self._pool = ReceiptPool(f"{directory}/{worker_id}{receipt_format.POOL_INFIX}")
        self._writer = Writer(self._pool, self._faults)
        self._wake_at = float("inf")
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        self._poll.register(self._woken, select.POLLIN)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._worker.say(("ready", os.getpid()))
        self._worker.send()

    def run(self) -> None:
        """Serve until the worker is gone, the last transport has ended and the last receipt is written."""
        while self._worker.listening or self._warm.asked or self._children or self._overdue or self._writer.busy:
            for descriptor, _ in self._poll.poll(self._patience()):
                if descriptor in self._outputs:
                    self._read_output(descriptor)
                elif descriptor in self._warm.asked:
                    self._hear_of(descriptor)
                elif descriptor == self._woken:
                    _read(self._woken)
                else:
                    self._hear()
            self._reap()
            self._name()
            if time.monotonic() >= self._wake_at:
                self._keep_time()
            self._worker.send()
        self._pool.close()
        if is_held_at(self._lock, self._lock_path):
            os.unlink(self._lock_path)  # noqa: PTH108 - no pathlib here

    # -- the worker's end

    def _hear(self) -> None:
        """Do what is asked for; once the worker is gone, what is not started yet never will be."""
        for request in self._worker.hear():
            if request == receipt_format.KEEP_FOLDER:
                with contextlib.suppress(OSError):  # it is tried again at the next start
                    self._keep_folder()
            else:
                self._start(*request)  # type: ignore[misc]  # the client sends exactly these

    # -- starting

    def _start(
        self,
        attempt: str,
        argv: list[bytes],
        environment: dict[bytes, bytes],
        standard_input: bytes | None,
        timeout: float,
        tail_bytes: int,
        start_by: float,
        *,
        again: bool = False,
    ) -> None:
        file: ReceiptFile | None = None
        start = Start(argv, environment)
        try:
            output = start.make(f"{self._directory}/{attempt}{receipt_format.STDIN_SUFFIX}", standard_input)
            file = self._pool.take(receipt_format.TAIL_AT + tail_bytes)
            self._faults.step("after_receipt_presized")
            os.link(file.path, f"{self._directory}/{attempt}{receipt_format.RECEIPT_SUFFIX}")
        except OSError as error:
            start.unmake()
            if file is not None:
                self._pool.put_back(file)
            if error.errno == errno.EEXIST:
                self._worker.say(("void", attempt))
            elif error.errno == errno.ENOENT and not again:
                with contextlib.suppress(OSError):  # then it fails once more, and that is said
                    self._keep_folder()
                self._start(attempt, argv, environment, standard_input, timeout, tail_bytes, start_by, again=True)
            else:
                self._worker.say(("not_started", attempt, error.errno or errno.EIO))
            return
        self._faults.step("after_note")
        child = Child(attempt, file, output, timeout, tail_bytes, start_by)
        asked = self._warm.ask(start, child)
        if asked is None:
            self._spawn(start, child)
            return
        self._poll.register(asked.talk, select.POLLIN)
        self._wake_at = min(self._wake_at, asked.until)

    def _hear_of(self, descriptor: int, *, late: bool = False) -> None:
        """Who will run what a warm process was asked for; if nobody, it is started in the plain way."""
        asked = self._warm.asked[descriptor]
        if steady() > asked.child.start_by:
            self._warm.forget(asked)
            self._poll.unregister(descriptor)
            asked.talk.close()
            self._spawn(asked.start, asked.child)
            return
        if (pid := self._warm.hear(asked, late=late)) is None:
            return
        self._poll.unregister(descriptor)
        asked.talk.close()
        if pid:
            self._watch(asked.start, asked.child, pid)
        else:
            self._spawn(asked.start, asked.child)

    def _spawn(self, start: Start, child: Child) -> None:
        """Start a program in the plain way, unless it is too late for that."""
        pid = 0
        child.too_late = steady() > child.start_by
        before = self._start_clock.now()
        try:
            pid = 0 if child.too_late else start.spawn()
        except OSError as error:
            child.spawn_error = error.errno or errno.EIO
        if pid:
            child.spawned = (before, self._start_clock.now())
            self._watch(start, child, pid)
            return
        start.unmake()
        child.output = Child.NONE
        self._finish(child)

    def _watch(self, start: Start, child: Child, pid: int) -> None:
        """It runs: read what it says, and note its time."""
        child.pid = pid
        self._faults.step("after_spawn")
        start.close()
        os.set_blocking(child.output, False)
        self._children[pid] = child
        self._unnamed.append(child)
        self._outputs[child.output] = child
        hear_at = self._unheard[child.output] = time.monotonic() + HEAR_AFTER
        self._wake_at = min(self._wake_at, child.deadline, hear_at)

    def _name(self) -> None:
        """Note who runs, once all that was asked for is started; what has ended meanwhile has its receipt.

        Only recovery from this process's own death reads these names: without one it waits until the time-out.
        """
        for child in self._unnamed:
            if child.status is None:
                # A zombie has one too, and only we reap it.
                start = self._start_clock.start_time(child.pid, *child.spawned)
                until = steady() + child.deadline - time.monotonic()
                _try_write(child.file, receipt_format.note_line(child.attempt, child.pid, start or "0", until))
                self._faults.step("after_note_recorded")
        self._unnamed.clear()

    def _keep_folder(self) -> None:
        """Somebody removed the folder, or what lay in it: make it again, with our lock and the notes of what runs."""
        os.makedirs(self._directory, 0o700, exist_ok=True)  # noqa: PTH103 - no pathlib here
        if not is_held_at(self._lock, self._lock_path):
            lock = hold_lock(self._lock_path)
            os.dup2(lock, self._lock, inheritable=False)  # under its old number: our last words go there
            os.close(lock)
        self._pool.forget_removed()
        for child in self._children.values():
            if child.file.names:
                continue
            file = self._pool.take(receipt_format.TAIL_AT + child.tail_bytes)
            try:
                os.link(file.path, f"{self._directory}/{child.attempt}{receipt_format.RECEIPT_SUFFIX}")
            except OSError:  # somebody takes it for one that never started: that is for recovery to say
                self._pool.put_back(file)
                continue
            child.file.give_up()
            child.file = file
            self._unnamed.append(child)

    # -- running

    def _read_output(self, descriptor: int) -> bool:
        """One read: no chatty transport takes more than its turn. False when there is nothing (more)."""
        data = _read(descriptor)
        if data is None:
            return False
        child = self._outputs[descriptor]
        if data:
            if child:
                child.keep(data)
            return True
        if self._unheard.pop(descriptor, None) is None:
            self._poll.unregister(descriptor)
        del self._outputs[descriptor]
        os.close(descriptor)
        if child:
            child.output = Child.NONE
        return False

    def _hear_output(self, descriptor: int) -> None:
        """From now on wake up for what is printed there."""
        del self._unheard[descriptor]
        self._poll.register(descriptor, select.POLLIN)

    def _patience(self) -> float | None:
        """Milliseconds that poll may wait, None for as long as it takes."""
        if self._wake_at == float("inf"):
            return None
        return max(0.0, self._wake_at - time.monotonic()) * 1000 + 1

    def _keep_time(self) -> None:
        """Do what is due: late warm processes, overdue sessions, receipts that wait; then set the next alarm."""
        now = time.monotonic()
        for descriptor in self._warm.late(now):
            self._hear_of(descriptor, late=True)
        for pid, child in self._children.items():
            if child.deadline <= now:
                child.timed_out = True
                self._overdue[pid] = child
        if self._overdue:
            self._kill_overdue(now)
        for output in [output for output, hear_at in self._unheard.items() if hear_at <= now]:
            self._hear_output(output)
        self._writer.keep_time(now if self._worker.listening else float("inf"))
        alarms = [child.deadline for child in self._children.values() if not child.timed_out]
        if self._overdue:
            alarms.append(now + KILL_EVERY)
        alarms += [asked.until for asked in self._warm.asked.values()]
        alarms += list(self._unheard.values())[:1]
        alarms += self._writer.alarms(now)
        self._wake_at = min(alarms, default=float("inf"))

    def _kill_overdue(self, now: float) -> None:
        """Kill what is left of each overdue session; one that is empty, its transport reaped, is finished."""
        alive = sessions.members(set(self._overdue))
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
            self._finish(child)

    def _reap(self) -> None:
        """Take the status of every transport that has ended."""
        while self._children or self._warm.adopts:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self._children.pop(pid, None)
            if child is None:  # the warm process, or what a transport has left behind
                self._warm.reaped(pid)
                continue
            child.status = status
            child.ended_at = time.time()
            if child.timed_out:
                child.leftovers_until = time.monotonic() + KILL_PATIENCE
            else:
                self._finish(child)

    # -- ending

    def _finish(self, child: Child) -> None:
        """Take the last output of a transport that has ended, write its receipt, then tell the worker."""
        if child.output in self._outputs:
            for _ in range(LAST_READS):
                if not self._read_output(child.output):
                    break
            if child.output in self._outputs:
                self._outputs[child.output] = None  # a background process holds it: read on, so that it never breaks
                if child.output in self._unheard:
                    self._hear_output(child.output)
        child.ended_at = child.ended_at or time.time()
        self._writer.complete(child)
        self._wake_at = min(self._wake_at, *self._writer.alarms(time.monotonic()))
        self._worker.say(
            ("ended", child.attempt, *child.outcome(), child.started_at, child.ended_at, child.pid, child.tail)
        )


def _read(descriptor: int) -> bytes | None:
    """What can be read now: None when nothing yet, empty at the end."""
    try:
        return os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _try_write(file: ReceiptFile, line: bytes) -> None:
    """Name the transport in its note; only recovery from this process's own death would miss it."""
    try:
        os.pwrite(file.descriptor, line, receipt_format.LINE_BYTES)
    except OSError:
        return


def main(directory: str, worker_id: str, descriptor: int, fault: str) -> None:
    """Be the launcher of one worker: hold its lock for life, serve, take the lock file away.

    A failure of our own ends up as text in the lock file, because nobody reads this process's standard error.
    """
    os.set_inheritable(descriptor, False)  # a transport that held it would hide our death
    lock = hold_lock(launcher_lock(directory, worker_id))
    try:
        Launcher(directory, worker_id, socket.socket(fileno=descriptor), lock, fault=fault).run()
    except BaseException:  # noqa: BLE001 - whatever it dies of must be found somewhere
        import traceback  # noqa: PLC0415 - only a dying launcher pays for it

        os.write(lock, traceback.format_exc().encode("utf-8", "replace"))
        sys.exit(70)
