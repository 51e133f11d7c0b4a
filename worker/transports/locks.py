"""Life is proven by a lock, and the boot id tells whether files can be believed."""

import fcntl
import os


def hold_lock(path: str | os.PathLike[str]) -> int:
    """Take the lock `path` for as long as the returned descriptor lives; no child inherits it.

    BlockingIOError when somebody else holds it, OSError when it cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def flock_is_free(path: str | os.PathLike[str]) -> bool:
    """Whether nobody holds the lock `path`; one that is not there is free. It is not taken, nor made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        # Shared, so that two who look at the same moment do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def boot_id() -> str:
    """What differs between two boots of this machine: the kernel's own id, or "unknown"."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:  # noqa: PTH123 - no pathlib here
            return source.read().strip()
    except OSError:
        pass  # not Linux
    with os.popen("/usr/sbin/sysctl -n kern.bootsessionuuid 2>/dev/null") as source:  # noqa: S605 - a constant  # noqa: S605 - a constant
        return source.read().strip() or "unknown"
