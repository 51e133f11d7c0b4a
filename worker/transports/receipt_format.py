"""The bytes of an attempt's note and receipt, and the frames between worker and launcher: one rule for both sides.

The launcher imports this, so it imports next to nothing. The table: docs/protocol.md#notes-and-receipts.

Both stand in one file, `ID.note`. Its name is the note: the attempt counts as started from when it is there. Its
content is, at offset 0, the receipt: one line of LINE_BYTES with an end mark; then, as long, the line that names the
transport's process once that is known; then up to `tail_bytes` of the transport's last output. Each line lies within
one sector and is written by one call, so that it is there or not; what lacks the end mark counts as absent, and so
does what names another attempt: the file was used before (see `receipt_pool`). A void note is a symbolic link: one
system call makes its name and its content, and the launcher's `link` fails on it.
"""

import errno
import marshal
import math
import os

LINE_BYTES = 256
RECEIPT_SUFFIX = ".note"  # of the attempt's one file, which is note and receipt; older workers know it by this name
STDIN_SUFFIX = ".stdin"
POOL_INFIX = ".spare"  # between a launcher's worker id and a number: a file of its receipt pool
VOID = "void"
KEEP_FOLDER = ("keep folder",)  # a request: somebody has removed the folder, or what lay in it
KINDS = ("exit", "signal", "timeout", "spawn_error", "too_late")

TAIL_AT = 2 * LINE_BYTES

_MARK = b"bus-watch-receipt 2"
_NOTE_MARK = b"bus-watch-note 2"
_END = b" end\n"


def receipt_line(
    *, attempt: str, boot: str, kind: str, code: int, started_at: float, ended_at: float, pid: int, tail_length: int
) -> bytes:
    """The fixed-size line that says how an attempt ended; times are seconds of the epoch."""
    fields = f" {attempt} {boot} {kind} {code} {started_at!r} {ended_at!r} {pid} {tail_length}".encode()
    return (_MARK + fields).ljust(LINE_BYTES - len(_END)) + _END


def parse_receipt(data: bytes, attempt: str) -> tuple[str, str, int, float, float, int, bytes] | None:
    """`(boot, kind, code, started_at, ended_at, pid, tail)`, or None without a complete receipt of this attempt."""
    line = data[:LINE_BYTES]
    if len(line) != LINE_BYTES or not line.startswith(_MARK + b" ") or not line.endswith(_END):
        return None
    try:
        whose, boot, kind, code, started, ended, pid, length = line[len(_MARK) : -len(_END)].decode("ascii").split()
        if whose != attempt or kind not in KINDS:
            return None
        tail = data[TAIL_AT : TAIL_AT + int(length)]
        return boot, kind, int(code), float(started), float(ended), int(pid), tail
    except ValueError:
        return None


def note_line(attempt: str, pid: int, start: str, until: float) -> bytes:
    """Who runs: the transport's pid (also its session), its start time, and when it is killed.

    `until`: seconds of `worker.steady_clock`. Whoever finds it running after that may end it: its launcher has died.
    """
    return (_NOTE_MARK + f" {attempt} {pid} {start} {until:.1f}".encode()).ljust(LINE_BYTES - len(_END)) + _END


def parse_note(data: bytes, attempt: str) -> tuple[int, str, float] | None:
    """`(pid, start, until)`, or None while (or because) the launcher had not recorded them."""
    line = data[LINE_BYTES:TAIL_AT]
    if not line.startswith(_NOTE_MARK + b" ") or not line.endswith(_END):
        return None
    try:
        whose, pid, start, *until = line[len(_NOTE_MARK) : -len(_END)].decode("ascii").split()
        return (int(pid), start, float(until[0]) if until else math.inf) if whose == attempt else None
    except ValueError:
        return None


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """All of `data` at `offset`, or OSError: a short write means that the space has run out."""
    if os.pwrite(descriptor, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def frame(message: object) -> bytes:
    """One message for the other side: four bytes of length, then marshal (one interpreter on both)."""
    body = marshal.dumps(message)  # type: ignore[arg-type]  # the type is private to typeshed
    return len(body).to_bytes(4, "big") + body


def take_frames(buffer: bytearray) -> list[object]:
    """The complete messages at the front of `buffer`, which loses them."""
    messages: list[object] = []
    at = 0
    while len(buffer) - at >= 4:
        end = at + 4 + int.from_bytes(buffer[at : at + 4], "big")
        if len(buffer) < end:
            break
        with memoryview(buffer) as view:
            messages.append(marshal.loads(view[at + 4 : end]))  # noqa: S302 - from our other half
        at = end
    del buffer[:at]
    return messages
