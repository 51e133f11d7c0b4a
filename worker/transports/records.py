"""The bytes of receipts and notes, and the frames between a worker and its launcher: one rule for both sides.

The launcher imports this, so it imports next to nothing.

A receipt is one line of LINE_BYTES at offset 0 with an end mark, then up to `tail_bytes` of the transport's
last output. The line lies within one sector and is written by one call, so that it is there or not; what
lacks the end mark counts as absent. A launcher's note is empty from before the start until the transport's
process is known, and names it then. A void note is a symbolic link: one system call makes its name and its
content, and `O_EXCL` of the launcher fails on it.
"""

import marshal

LINE_BYTES = 256
VOID = "void"
KINDS = ("exit", "signal", "timeout", "spawn_error")

_MARK = b"bus-watch-receipt 1"
_NOTE_MARK = b"bus-watch-note 1"
_END = b" end\n"


def receipt_line(
    *, boot: str, kind: str, code: int, started_at: float, ended_at: float, pid: int, tail_length: int
) -> bytes:
    """The fixed-size line that says how an attempt ended; times are seconds of the epoch."""
    fields = f" {boot} {kind} {code} {started_at!r} {ended_at!r} {pid} {tail_length}".encode()
    return (_MARK + fields).ljust(LINE_BYTES - len(_END)) + _END


def parse_receipt(data: bytes) -> tuple[str, str, int, float, float, int, bytes] | None:
    """`(boot, kind, code, started_at, ended_at, pid, tail)`, or None for what is not a complete receipt."""
    line = data[:LINE_BYTES]
    if len(line) != LINE_BYTES or not line.startswith(_MARK + b" ") or not line.endswith(_END):
        return None
    try:
        boot, kind, code, started, ended, pid, length = line[len(_MARK) : -len(_END)].decode("ascii").split()
        if kind not in KINDS:
            return None
        tail = data[LINE_BYTES : LINE_BYTES + int(length)]
        return boot, kind, int(code), float(started), float(ended), int(pid), tail
    except ValueError:
        return None


def note_line(pid: int, start: str) -> bytes:
    """The launcher's note once the transport runs: its pid (also its session) and its start time."""
    return b"%s %d %s%s" % (_NOTE_MARK, pid, start.encode(), _END)


def parse_note(data: bytes) -> tuple[int, str] | None:
    """`(pid, start)`, or None while (or because) the launcher had not recorded them."""
    if not data.startswith(_NOTE_MARK + b" ") or not data.endswith(_END):
        return None
    try:
        pid, start = data[len(_NOTE_MARK) : -len(_END)].decode("ascii").split()
        return int(pid), start
    except ValueError:
        return None


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
