"""What the system tells about its processes: `/proc` on Linux (proc(5)), `ps` elsewhere; see `worker.libproc` too.

The launcher and the commands that agents call import this, so it imports next to nothing.
"""

import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` costs a start of the launcher more than all else here
    from collections.abc import Callable, Iterator

NO_PROC_VARIABLE = "BUS_WATCH_TEST_NO_PROC"
"""For tests only: set to anything, it takes `/proc` away, so that what other systems do can be tried on Linux."""

HAS_PROC = sys.platform == "linux" and NO_PROC_VARIABLE not in os.environ

_PS = "/bin/ps"
_PS_SECONDS = 2.0  # Apple's ps sleeps a second and tries again when its sysctl fails; one that hangs is given up

# Where a field of /proc/PID/stat stands in what `stat` returns. START is in clock ticks since boot.
STATE, PARENT, GROUP, SESSION, TERMINAL, FOREGROUND, START = 0, 1, 2, 3, 4, 5, 19
_CPU = slice(11, 15)

ENDED = frozenset({b"Z", b"X"})  # states of what waits to be reaped, or is just going

_STAT_BYTES = 2048


def pids() -> list[int]:
    """Every process that `/proc` lists; empty where there is none."""
    if not HAS_PROC:
        return []
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - no pathlib here
    except OSError:
        return []


def stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the third on, or None when there is no such process."""
    if not HAS_PROC:
        return None
    try:
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(handle, _STAT_BYTES)
    except OSError:
        return None
    finally:
        os.close(handle)
    # The command name stands in brackets and may itself hold brackets and spaces: the last one ends it.
    return data[data.rindex(b")") + 2 :].split()


def descendants(root: int, wanted: "Callable[[list[bytes]], bool]") -> "Iterator[tuple[int, list[bytes]]]":
    """`root` and what descends from it, each with its fields; only below what is `wanted`, by its fields.

    A kernel without /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN) shows `root` alone; so may, in part, any other
    while children come and go (proc(5)).
    """
    known, left = {root}, [root]
    while left:
        pid = left.pop()
        fields = stat(pid) if pid > 0 else None
        if fields is None:
            continue
        yield pid, fields
        if wanted(fields):
            fresh = [one for one in _children(pid) if one not in known]
            known.update(fresh)
            left += fresh


def _children(pid: int) -> list[int]:
    """What the threads of a process have started."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - no pathlib here
    except OSError:
        return found
    for thread in threads:
        found += map(int, (_read(pid, f"task/{thread}/children") or b"").split())
    return found


def cpu_ticks(pid: int) -> tuple[int, int, int, int]:
    """User and system time of the process, then of the children it has reaped, in clock ticks; OSError: it is gone."""
    fields = stat(pid)
    if fields is None:
        raise ProcessLookupError(f"process {pid} is gone")
    user, system, child_user, child_system = map(int, fields[_CPU])
    return user, system, child_user, child_system


def name(pid: int) -> str:
    """What the kernel calls the process, 15 bytes of it; empty when it is gone."""
    return (_read(pid, "comm") or b"").decode("utf-8", "replace").rstrip("\n")


def arguments(pid: int) -> list[str]:
    """The argument vector; empty for a kernel thread, and when the process is gone.

    A process that writes its own title joins them with blanks (node, claude): then there is one.
    """
    raw = (_read(pid, "cmdline") or b"").decode("utf-8", "replace").rstrip("\0")
    return raw.split("\0") if raw else []


def environment(pid: int) -> dict[str, str] | None:
    """The environment that the process was started with; None when we may not look, or it is gone.

    Without `/proc` it is what `ps -E` (macOS, ps(1)) or `ps e` (procps) prints behind the arguments: a value that holds
    a blank is cut there.
    """
    if not HAS_PROC:
        words = ps("-Eww" if sys.platform == "darwin" else "eww", "-o", "command=", "-p", str(pid)).split()
        pairs = (word.partition("=") for word in words[1:])
        found = {name: value for name, mark, value in pairs if mark and name.isascii() and name.isidentifier()}
        return found or None
    raw = _read(pid, "environ")
    if raw is None:
        return None
    return dict(pair.split("=", 1) for pair in raw.decode("utf-8", "surrogateescape").split("\0") if "=" in pair)


def link(pid: int, entry: str) -> str | None:
    """What `exe` or `cwd` of the process points to; None when we may not look, or it is gone."""
    if not HAS_PROC:
        return None
    try:
        return os.readlink(f"/proc/{pid}/{entry}")  # noqa: PTH115 - no pathlib here
    except OSError:
        return None


def born(pid: int) -> str:
    """When a process started, as letters and digits that no other process with its number has; empty: it has ended."""
    if HAS_PROC:
        fields = stat(pid)
        return "" if fields is None or fields[STATE] in ENDED else fields[START].decode()
    return "".join(one for one in ps("-o", "lstart=", "-p", str(pid)) if one.isascii() and one.isalnum())


def ps(*options: str) -> str:
    """What `ps` prints, its times in UTC and in no language; empty when it cannot be run, or takes too long."""
    read_end, write_end = os.pipe()
    try:
        # Times are compared with those that others have written down: from every time zone and language alike.
        environment = {"LC_ALL": "C", "TZ": "UTC0"}
        pid = os.posix_spawn(_PS, ["ps", *options], environment, file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)])
    except OSError:
        os.close(read_end)
        return ""
    finally:
        os.close(write_end)
    output = bytearray()
    deadline = time.monotonic() + _PS_SECONDS
    with os.fdopen(read_end, "rb", buffering=0) as source:
        while (left := deadline - time.monotonic()) > 0 and select.select([source], [], [], left)[0]:
            some = source.read(65536)
            if not some:
                break
            output += some
        else:
            os.kill(pid, signal.SIGKILL)
            output.clear()
    os.waitpid(pid, 0)
    return output.decode("utf-8", "replace")


def _read(pid: int, entry: str) -> bytes | None:
    if not HAS_PROC:
        return None
    try:
        with open(f"/proc/{pid}/{entry}", "rb") as source:  # noqa: PTH123 - no pathlib here
            return source.read()
    except OSError:
        return None
