"""Life is proven by a lock, and the boot id tells whether files can be believed.

The launcher imports this, so it imports next to nothing.
"""

import fcntl
import os

_WORKER = ".lock"
_LAUNCHER = ".launcher"


def worker_lock(directory: str | os.PathLike[str], worker: str) -> str:
    """The lock that a worker holds for life."""
    return f"{os.fspath(directory)}/{worker}{_WORKER}"


def launcher_lock(directory: str | os.PathLike[str], worker: str) -> str:
    """The lock that a worker's launcher holds for life, which may be longer."""
    return f"{os.fspath(directory)}/{worker}{_LAUNCHER}"


def any_worker_lives(directory: str | os.PathLike[str]) -> bool:
    """Whether some worker holds its lock in this directory, which may not be there."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - no pathlib here
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(name.endswith(_WORKER) and not flock_is_free(f"{os.fspath(directory)}/{name}") for name in names)


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


def is_held_at(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Whether the lock that `descriptor` holds is still the file at `path`: others look there."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116 - no pathlib here
    except FileNotFoundError:
        return False


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
    with os.popen("/usr/sbin/sysctl -n kern.bootsessionuuid 2>/dev/null") as source:  # noqa: S605 - a constant
        return source.read().strip() or "unknown"
