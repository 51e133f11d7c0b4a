"""Reading another host's `/proc` with nothing but its shell (and `cat`): its `ps` may be busybox's, or missing.

The scripts are for any POSIX shell, in one line, and take what they need as arguments.
"""

import os
from collections.abc import Iterator

from msgspec import Struct

from worker.terminal.runner import Runner

_NO_PROC = 3
_TICKS = 100  # a second: Linux's USER_HZ (alpha and ia64 had 1024)

# stat is read whole, for a program's name may hold line feeds and brackets; the last bracket ends it. $1 is a word that
# is new each time, $2 the number of the terminal.
_FOREGROUND = (
    '[ -r /proc/self/stat ] && [ -z "$BUS_WATCH_TEST_NO_PROC" ] || exit 3; '
    't=$1; n=$2; read -r u x </proc/uptime; printf "%s %s\\n" "$t" "$u"; '
    "for d in /proc/[0-9]*; do set -f; s=; { while IFS= read -r l; do s=$s$l; done <$d/stat; } 2>/dev/null; "
    'set -- ${s##*) }; [ "$5" = "$n" ] && [ "$3" = "$6" ] || continue; '
    "case $1 in Z|X) continue;; esac; shift 19; c=${s%)*}; "
    'printf "%s %s %s %s\\n" "$t" "${d#/proc/}" "$1" "${c#*(}"; cat $d/cmdline 2>/dev/null; done'
)

LIFE = (
    'p=${1:-$PPID}; if [ -r "/proc/$p/stat" ] && [ -z "$BUS_WATCH_TEST_NO_PROC" ]; then '
    's=; { while IFS= read -r l; do s=$s$l; done <"/proc/$p/stat"; } 2>/dev/null; '
    'set -f; set -- ${s##*) }; case $1 in ""|Z|X) s=;; *) shift 19; s=$1;; esac; '
    'else s=$(LC_ALL=C TZ=UTC0 ps -o lstart= -p "$p" 2>/dev/null | tr -cd A-Za-z0-9); fi; '
    'echo "$p ${s:-none} $(date +%s 2>/dev/null || echo 0)"'
)
"""$1 is a pid; empty: the shell's parent. Says the pid, when it started, in a form that never changes while it lives
(`none`: it is dead, or that is unknowable), and the time in seconds since 1970."""


class Found(Struct, frozen=True):
    """One process."""

    pid: int
    comm: str
    argv: list[str]
    age: float
    """Seconds."""


def foreground(runner: Runner, tty: str) -> list[Found] | None:
    """The processes in the foreground of the terminal `tty`, in one command; None: no `/proc` there, or no pty."""
    number = tty.removeprefix("/dev/pts/")
    if not number.isdigit():
        return None
    minor = int(number)
    device = (minor & 0xFF) | (136 << 8) | ((minor & ~0xFF) << 12)  # as /proc/PID/stat encodes it, proc(5)
    word = os.urandom(8).hex()
    result = runner.run(["sh", "-c", _FOREGROUND, "sh", word, str(device)])
    if result.status == _NO_PROC:
        return None
    return list(_read(result.output.split(word.encode())[1:]))


def _read(parts: list[bytes]) -> Iterator[Found]:
    """From what the script printed, taken apart at its word: the host's uptime, then one part for each process."""
    uptime = float(parts[0]) if parts and parts[0].strip().replace(b".", b"").isdigit() else 0.0
    for part in parts[1:]:
        head, _, cmdline = part.partition(b"\n")
        words = head.decode("utf-8", "replace").split(" ", 3)
        if len(words) == 4 and words[1].isdigit() and words[2].isdigit():
            argv = cmdline.decode("utf-8", "replace").rstrip("\0")
            arguments = argv.split("\0") if argv else []
            yield Found(int(words[1]), words[3], arguments, uptime - int(words[2]) / _TICKS)
