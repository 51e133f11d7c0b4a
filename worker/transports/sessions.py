"""Whose process is it: start times and sessions, so that only what is proven ours is ever killed.

The launcher imports this, so it imports next to nothing.
"""

import os
import signal
import sys
import time

from worker import process_table
from worker.process_table import ENDED, HAS_PROC, SESSION, START, STATE

HAS_LIBPROC = sys.platform == "darwin"


def start_time(pid: int) -> str | None:
    """What tells two processes with the same pid apart; None when it is gone (a zombie is not)."""
    if HAS_PROC:
        fields = process_table.stat(pid)
        return fields[START].decode() if fields else None
    if HAS_LIBPROC:
        from worker import libproc  # noqa: PLC0415 - ctypes takes 10 ms to load, which others need not pay

        return libproc.start_time(pid)
    listed = process_table.ps("-o", "lstart=", "-p", str(pid)).strip()
    return listed.replace(" ", "_") or None


class StartClock:
    """The start time of a process that has just been started, without a look into `/proc`, which takes 50 us.

    Linux takes it from CLOCK_BOOTTIME, and tells it in clock ticks (proc_pid_stat(5), `starttime`; fs/proc/array.c): so
    where that clock stands at the same tick before a start and after it, that is it. It is believed once it has agreed
    with `/proc` some times, and never again if once it does not: a sandbox may have clocks of its own.
    """

    AGREES = 3

    def __init__(self) -> None:
        self._agreed = 0 if HAS_PROC else -1
        self._nanoseconds = 10**9 // os.sysconf("SC_CLK_TCK")

    def now(self) -> int:
        """The tick, 0 where it would not be believed."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // self._nanoseconds if self._agreed >= 0 else 0

    def start_time(self, pid: int, before: int, after: int) -> str | None:
        """As the function of this name says it, for a process that was started between these two ticks."""
        if before != after or self._agreed < 0:
            return start_time(pid)
        if self._agreed >= self.AGREES:
            return str(before)
        said = start_time(pid)
        if said is not None:
            self._agreed = self._agreed + 1 if said == str(before) else -1
        return said


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
    if HAS_PROC:
        fields = process_table.stat(pid)
        return (
            bool(fields)
            and fields is not None
            and fields[STATE] not in ENDED
            and (int(fields[SESSION]) == pid and fields[START].decode() == start)
        )
    return start_time(pid) == start and pid in members({pid}).get(pid, [])


def _sessions() -> list[tuple[int, int]]:
    """`(pid, session)` of every living process of this machine."""
    found = []
    if HAS_PROC:
        for pid in process_table.pids():
            if (fields := process_table.stat(pid)) and fields[STATE] not in ENDED:
                found.append((pid, int(fields[SESSION])))  # noqa: PERF401 - a comprehension would hide the look-up
        return found
    # `ps -o sess` prints a kernel address on macOS; getsid(2) tells the number.
    for pid in _living():
        try:
            found.append((pid, os.getsid(pid)))
        except OSError:
            continue
    return found


def _living() -> list[int]:
    """Every process of this machine but those that wait to be reaped, where there is no `/proc`."""
    if HAS_LIBPROC:
        from worker import libproc  # noqa: PLC0415 - the same

        return [pid for pid in libproc.pids() if not libproc.is_zombie(pid)]
    words = (line.split() for line in process_table.ps("-axo", "pid=,stat=").splitlines())
    return [int(word[0]) for word in words if len(word) > 1 and word[0].isdigit() and not word[1].startswith("Z")]
