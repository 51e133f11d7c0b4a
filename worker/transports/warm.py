"""Built-in terminal sends from a process that has its imports done: the launcher's end. Linux only.

The launcher imports this, so it imports next to nothing. docs/protocol.md#a-warm-sender has the rules.

The launcher starts `worker.terminal.warm_sender` once, by the interpreter that the command's own script names, and
hands each such attempt to it: argv, environment, standard input and output, by one inherited socket. The process forks
twice; what is left is an orphan, which the kernel gives to the launcher as the nearest subreaper (prctl(2)). So the
attempt is the launcher's own child, in a session of its own, as if it had been started in the plain way: its end, its
time-out and its receipt are the same, whether or not the warm process still lives.

Promises: nothing has run before the launcher said so to the very process that will run, and it says so once. Whatever
is odd (another script, another environment, changed files, no answer) means the plain start.
"""

import os
import signal
import socket
import sys
import time

from worker.transports.start import NONE, RESET, Start
from worker.transports.writer import Child, Faults

VERSION = "1"
"""Of what the two ends say to each other; they may come from two installations."""

ANSWERS_WITHIN = 1.0  # seconds for the warm process to name who will run
RESTS = 1.0  # seconds until another warm process is started in place of one that has ended
LOOKS_AGAIN = (
    10.0  # seconds until a program that is no script of ours is looked at again; the plain start is never wrong
)

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
_SCRIPT_BYTES = 1024
_MAIN = (
    "import sys; p = sys.argv; sys.flags.safe_path or sys.path.__setitem__(0, p[4]); "
    "from worker.terminal.warm_sender import serve; serve(int(p[1]), p[2], int(p[3]))"
)
_IMPORTS = {
    f"from worker.terminal.{name} import main".encode(): name for name in ("wake", "send_message", "agent_send")
}
# All that pip, uv and installer write into a console script; a script that says anything else is somebody's own.
_USUAL = {
    b"",
    b"# -*- coding: utf-8 -*-",
    b"import re",
    b"import sys",
    b"if __name__ == '__main__':",
    b'if __name__ == "__main__":',
    rb"sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])",
    b"sys.argv[0] = sys.argv[0].removesuffix('.exe')",
    b'if sys.argv[0].endswith("-script.pyw"):',
    b"sys.argv[0] = sys.argv[0][:-11]",
    b'elif sys.argv[0].endswith(".exe"):',
    b"sys.argv[0] = sys.argv[0][:-4]",
    b"sys.exit(main())",
}
# What Python, its libraries and ours do not look at before `main` is called. All else must be as it was at the start.
_FREE = (b"SOS_", b"TMUX", b"AGENT_SEND_", b"XDG_CONFIG_HOME", b"TERM", b"USER")


class Asked:
    """An attempt that a warm process was asked for, and that nobody runs yet."""

    __slots__ = ("child", "start", "talk", "until")

    def __init__(self, start: Start, child: Child, talk: socket.socket) -> None:
        self.start, self.child, self.talk = start, child, talk
        self.until = time.monotonic() + ANSWERS_WITHIN


class Warm:
    """One warm process, if there can be one, and what it was asked for."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.asked: dict[int, Asked] = {}
        """By the descriptor of `talk`: what has not been answered."""
        self._channel: socket.socket | None = None
        self._pid = 0
        self._ready = False
        self._is_for: tuple[bytes, dict[bytes, bytes]] | None = None
        self._rests_until = 0.0
        self._adopts = False
        self._scripts: dict[bytes, tuple[tuple[int, ...], tuple[bytes, str]]] = {}  # which file each was, and what
        self._others: dict[bytes, float] = {}  # programs that are no scripts of ours, and until when that is believed

    @property
    def adopts(self) -> bool:
        """Whether orphans become this process's children."""
        return self._adopts

    def ask(self, start: Start, child: Child) -> Asked | None:
        """Have a process made that will run it; `hear` it once something comes by `talk`. None: start it plainly."""
        if sys.platform != "linux" or (known := self._script(start.argv[0])) is None:
            return None
        talk = self._request(*known, start)
        if talk is None:
            return None
        self._faults.step("after_warm_asked")
        asked = self.asked[talk.fileno()] = Asked(start, child, talk)
        return asked

    def hear(self, asked: Asked, *, late: bool) -> int | None:
        """The pid of what runs now. 0: start it in the plain way. None: nothing is said yet, and it is not `late`."""
        if (pid := _take(asked.talk)) is None and not late:
            return None
        del self.asked[asked.talk.fileno()]
        self._faults.step("after_warm_named")
        return pid if pid and _let_run(asked.talk) else 0

    def forget(self, asked: Asked) -> None:
        """It is not to run: whoever waits for that reads the end of the socket, and exits."""
        del self.asked[asked.talk.fileno()]

    def late(self, now: float) -> list[int]:
        """What should have been answered by now; with a process so slow there is an end."""
        late = [descriptor for descriptor, asked in self.asked.items() if asked.until <= now]
        if late:
            self.give_up()
        return late

    def give_up(self) -> None:
        """End the warm process; what it has started and the launcher has let run goes on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            self._rests_until = time.monotonic() + RESTS
            if self._pid > 0:  # ours until it is reaped, and then `reaped` forgets it
                os.kill(self._pid, signal.SIGKILL)

    def reaped(self, pid: int) -> None:
        """A child of the launcher has been reaped; perhaps it was this one."""
        if pid == self._pid:
            self._pid = 0
            if self._channel is not None:
                self._channel.close()
                self._channel = None
                self._rests_until = time.monotonic() + RESTS

    def _request(self, interpreter: bytes, module: str, start: Start) -> socket.socket | None:
        """Ask for `module` run by `interpreter`; the socket by which the answer comes, None if nobody can be asked."""
        fixed = {name: value for name, value in start.environment.items() if not name.startswith(_FREE)}
        if not self._is_ready(interpreter, fixed, start.argv[0]) or self._channel is None:
            return None
        pairs = [b"=".join(pair) for pair in start.environment.items()]
        made: list[int] = []
        try:
            request = os.memfd_create("request", os.MFD_CLOEXEC)
            made.append(request)
            with os.fdopen(request, "wb", closefd=False) as file:
                file.write(b"\0".join([module.encode(), b"%d" % len(start.argv), *start.argv, *pairs]))
            ours, theirs = socket.socketpair()
            made.append(theirs.detach())
        except OSError:
            _close(made)
            return None
        try:
            given = [] if start.given == NONE else [start.given]
            socket.send_fds(self._channel, [b"?"], [*made, start.output, *given])
        except OSError:  # it has ended, or does not read
            ours.close()
            self.give_up()
            return None
        finally:
            _close(made)
        ours.setblocking(False)
        return ours

    def _is_ready(self, interpreter: bytes, fixed: dict[bytes, bytes], script: bytes) -> bool:
        """Whether a warm process for exactly this stands ready; else see to it that one will."""
        if self._channel is not None and not self._ready:
            try:
                self._ready = self._channel.recv(16) == b"ready"
                if not self._ready:
                    self.give_up()
            except BlockingIOError:
                return False
            except OSError:
                self.give_up()
        if self._channel is None:
            if self._pid == 0 and time.monotonic() >= self._rests_until:
                self._start(interpreter, fixed, script)
            return False
        return self._ready and self._is_for == (interpreter, fixed)

    def _start(self, interpreter: bytes, fixed: dict[bytes, bytes], script: bytes) -> None:
        self._rests_until = time.monotonic() + RESTS
        self._adopts = self._adopts or _become_subreaper()
        if not self._adopts:
            return
        made: list[int] = []
        try:
            made += os.pipe()  # it says nothing there; but its streams have to be those of a pipe, as in an attempt
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            _close(made)
            return
        made.append(theirs.detach())
        home = os.path.dirname(os.path.realpath(script))  # noqa: PTH120 - no pathlib here
        argv = [interpreter, b"-c", _MAIN.encode(), b"3", VERSION.encode(), b"%d" % os.getpid(), home]
        try:
            self._pid = os.posix_spawn(
                interpreter, argv, fixed,
                file_actions=[(os.POSIX_SPAWN_DUP2, made[at], to) for at, to in ((1, 1), (1, 2), (2, 3))],
                setsid=True, setsigmask=(), setsigdef=RESET,
            )  # fmt: skip
        except OSError:
            ours.close()
            return
        finally:
            _close(made)
        ours.setblocking(False)
        self._channel, self._ready, self._is_for = ours, False, (interpreter, fixed)

    def _script(self, path: bytes) -> tuple[bytes, str] | None:
        """Which interpreter runs which of our modules, if the file is the console script that an installer wrote.

        Most attempts run something else. Those cost no look at their file, as even a look is felt in a short lane.
        """
        if path in self._others and time.monotonic() < self._others[path]:
            return None
        try:
            found = os.stat(path)  # noqa: PTH116 - no pathlib here
            mark = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if path in self._scripts and self._scripts[path][0] == mark:
                return self._scripts[path][1]
            with open(path, "rb") as file:  # noqa: PTH123 - no pathlib here
                recognised = _recognised(file.read(_SCRIPT_BYTES + 1))
        except OSError:
            return None
        if recognised is None:
            self._others[path] = time.monotonic() + LOOKS_AGAIN
        else:
            self._scripts[path] = mark, recognised
        return recognised


def _take(talk: socket.socket) -> int | None:
    """The pid of the process that waits to run; 0: there is none, and none will run; None: nothing is said yet."""
    try:
        said = talk.recv(32)
    except BlockingIOError:
        return None
    except OSError:
        return 0
    return int(said) if said.isdigit() else 0


def _let_run(talk: socket.socket) -> bool:
    """Let it run. False: it is gone, and has run nothing."""
    try:
        talk.sendall(b"g")
    except OSError:
        return False
    return True


def _recognised(content: bytes) -> tuple[bytes, str] | None:
    if len(content) > _SCRIPT_BYTES:
        return None
    first, _, rest = content.partition(b"\n")
    interpreter = first[2:]
    if not first.startswith(b"#!/") or len(interpreter.split()) != 1:
        return None
    lines = [line.strip() for line in rest.split(b"\n")]
    imported = [_IMPORTS[line] for line in lines if line in _IMPORTS]
    usual = all(line in _USUAL for line in lines if line not in _IMPORTS)
    return (
        (interpreter, imported[0]) if usual and len(imported) == 1 and lines.count(b"sys.exit(main())") == 1 else None
    )


def _become_subreaper() -> bool:
    try:
        import ctypes  # noqa: PLC0415 - only a launcher that sends to terminals pays for it

        return bool(ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
