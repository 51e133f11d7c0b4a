"""What macOS tells of its processes through libproc, without starting a `ps` for it.

The launcher asks for each start, in its only thread, and Apple's `ps` sleeps a second and repeats where its sysctl
fails. Functions: proc_listpids(type, typeinfo, buffer, size) and proc_pidinfo(pid, flavor, arg, buffer, size), each
the number of bytes it wrote, 0 or less for none. Numbers and layout: bsd/sys/proc_info.h of xnu-10002; `struct
proc_bsdinfo` is 136 bytes, pbi_status at 4, pbi_start_tvsec and pbi_start_tvusec at 120 and 128 (uint64).
"""

import ctypes
import sys

_LIBRARY = "/usr/lib/libSystem.B.dylib"  # dlopen(3) finds it in the shared cache, though no file is there
_ALL_PIDS = 1  # PROC_ALL_PIDS
_BSD_INFO, _BSD_INFO_BYTES = 3, 136  # PROC_PIDTBSDINFO
_ZOMBIES_TOO = 1  # its arg
_STATUS, _ZOMBIE = slice(4, 8), 5  # SZOMB
_START_SECONDS, _START_MICROSECONDS = slice(120, 128), slice(128, 136)
_PID_BYTES = 4
_MORE_PIDS = 64  # that may start between the two calls

_loaded: ctypes.CDLL | None = None


def _library() -> ctypes.CDLL:
    global _loaded  # noqa: PLW0603 - once a process
    if _loaded is None:
        _loaded = ctypes.CDLL(_LIBRARY)
        size = ctypes.c_int
        _loaded.proc_pidinfo.argtypes = [size, size, ctypes.c_uint64, ctypes.c_void_p, size]
        _loaded.proc_listpids.argtypes = [ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, size]
    return _loaded


def _info(pid: int) -> bytes | None:
    """Its `struct proc_bsdinfo`; None when it is gone, or not ours to ask about."""
    buffer = ctypes.create_string_buffer(_BSD_INFO_BYTES)
    told = _library().proc_pidinfo(pid, _BSD_INFO, _ZOMBIES_TOO, buffer, _BSD_INFO_BYTES)
    return buffer.raw if told == _BSD_INFO_BYTES else None


def start_time(pid: int) -> str | None:
    """`SECONDS.MICROSECONDS` since the epoch, which no time zone or language changes; None when it is gone."""
    info = _info(pid)
    if info is None:
        return None
    seconds, micros = (int.from_bytes(info[at], sys.byteorder) for at in (_START_SECONDS, _START_MICROSECONDS))
    return f"{seconds}.{micros:06}"


def is_zombie(pid: int) -> bool:
    """Whether it has ended, and waits to be reaped."""
    info = _info(pid)
    return info is not None and int.from_bytes(info[_STATUS], sys.byteorder) == _ZOMBIE


def pids() -> list[int]:
    """Every process of this machine, those that wait to be reaped among them."""
    room = _library().proc_listpids(_ALL_PIDS, 0, None, 0) + _MORE_PIDS * _PID_BYTES
    buffer = ctypes.create_string_buffer(room)
    size = max(0, _library().proc_listpids(_ALL_PIDS, 0, buffer, room))
    numbers = (int.from_bytes(buffer.raw[at : at + _PID_BYTES], sys.byteorder) for at in range(0, size, _PID_BYTES))
    return [number for number in numbers if number > 0]
