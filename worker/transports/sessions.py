"""Whose process is it: start times and sessions, so that only what is proven ours is ever killed.

The launcher imports this, so it imports next to nothing. Linux tells through /proc (proc(5),
/proc/pid/stat: field 3 state, 6 session, 22 start time in clock ticks since boot); elsewhere `ps` and
`getsid` tell.
"""

import os
import signal
import sys
import time

_LINUX = sys.platform == "linux"


def _stat(pid: int | str) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the third on, or None when there is no such process."""
    try:
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(handle, 2048)
    except OSError:
        return None
    finally:
        os.close(handle)
    # The command name stands in brackets and may itself hold brackets and spaces: the last one ends it.
    return data[data.rindex(b")") + 2 :].split()


def start_time(pid: int) -> str | None:
    """What tells two processes with the same pid apart; None when it is gone (a zombie is not)."""
    if _LINUX:
        fields = _stat(pid)
        return fields[19].decode() if fields else None
    listed = _ps("-o", "lstart=", "-p", str(pid)).strip()
    return listed.replace(" ", "_") or None


def members(sessions: set[int]) -> dict[int, list[int]]:
    """The living processes (no zombies) of each of these sessions that has any."""
    found: dict[int, list[int]] = {}
    for pid, session in _sessions():
        if session in sessions:
            found.setdefault(session, []).append(pid)
    return found


def kill(pids: list[int]) -> None:
    """SIGKILL to each; one that has just gone is what was wanted."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def kill_session(session: int, start: str, *, patience: float = 5.0) -> bool:
    """Kill every process of a session whose leader is still proven ours; True once none is left.

    False: the leader is not (or no longer) the process that was started, and nothing was killed; or
    something did not die within `patience` seconds. The leader goes last, because its living pid is the
    proof for all others.
    """
    if start_time(session) != start:
        return False
    until = time.monotonic() + patience
    while True:
        pids = members({session}).get(session, [])
        if not pids:
            return True
        others = [pid for pid in pids if pid != session]
        late = time.monotonic() >= until
        if session in pids and start_time(session) != start:
            return True  # ours has ended, and its number is somebody else's now
        kill(pids if late else others or pids)
        if late:
            return not members({session})
        time.sleep(0.01)


def leads(pid: int, start: str) -> bool:
    """Whether the process that was started is still there, alive, and leads its session."""
    if _LINUX:
        fields = _stat(pid)
        return (
            bool(fields)
            and fields is not None
            and fields[0] not in {b"Z", b"X"}
            and (int(fields[3]) == pid and fields[19].decode() == start)
        )
    return start_time(pid) == start and pid in members({pid}).get(pid, [])


def _sessions() -> list[tuple[int, int]]:
    """`(pid, session)` of every living process of this machine."""
    found = []
    if _LINUX:
        for name in os.listdir("/proc"):  # noqa: PTH208 - imported by the launcher: no pathlib
            if name.isdigit() and (fields := _stat(name)) and fields[0] not in {b"Z", b"X"}:
                found.append((int(name), int(fields[3])))  # noqa: PERF401 - a comprehension would hide the look-up
        return found
    # `ps -o sess` prints a kernel address on macOS; getsid(2) tells the number.
    for line in _ps("-axo", "pid=,stat=").splitlines():
        pid, _, state = line.strip().partition(" ")
        if pid.isdigit() and not state.strip().startswith("Z"):
            try:
                found.append((int(pid), os.getsid(int(pid))))
            except OSError:
                continue
    return found


def _ps(*arguments: str) -> str:
    """What `ps` prints; empty when it cannot be run."""
    read_end, write_end = os.pipe()
    try:
        pid = os.posix_spawn(
            "/bin/ps", ["ps", *arguments], {"LC_ALL": "C"}, file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)]
        )
    except OSError:
        os.close(read_end)
        return ""
    finally:
        os.close(write_end)
    with os.fdopen(read_end, "rb") as output:
        text = output.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return text
