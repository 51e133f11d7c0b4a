"""Runs a command under what a system unit forbids, as far as that can be had without systemd as process 1.

    unshare --map-root-user --mount python -m tests.fakes.confined WRITABLE COMMAND...

Everything but WRITABLE is read-only (ProtectSystem=strict, ProtectHome=read-only), no capability is left or can be got
back (CapabilityBoundingSet=, NoNewPrivileges), and no memory is both written and executed (MemoryDenyWriteExecute).
Constants: linux/mount.h, linux/prctl.h; all of it is there since Linux 6.3.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
MOUNT_SETATTR = 442  # the same number on every architecture that Linux runs on but alpha
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY = 1
MS_BIND = 4096
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65


def checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_only(path: str, *, really: bool) -> None:
    """Make a mount (and all below it) read-only, or writable again."""
    attributes = struct.pack("QQQQ", *((MOUNT_ATTR_RDONLY, 0) if really else (0, MOUNT_ATTR_RDONLY)), 0, 0)
    flags = AT_RECURSIVE if really else 0
    checked(LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, len(attributes)))


def main() -> None:
    writable, command = sys.argv[1], sys.argv[2:]
    checked(LIBC.mount(writable.encode(), writable.encode(), None, MS_BIND, None))
    read_only("/", really=True)
    read_only(writable, really=False)
    for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        checked(LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(LIBC.prctl(PR_SET_MDWE, 1, 0, 0, 0))
    os.umask(0o077)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
