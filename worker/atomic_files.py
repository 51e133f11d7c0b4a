"""Files that are there whole or not at all: written under another name, then renamed."""

import contextlib
import os
from pathlib import Path

from worker.durable import sync


def write_atomically(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    durable: bool = True,
) -> None:
    """Put `content` in the place of `path`; whoever reads it meanwhile sees the old file or the new one, never half.

    `mode` holds whatever the umask is; `owner` is a uid and gid. `durable`: it outlives a power failure once this
    returns. Raises OSError, with `path` as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # another process may be writing the same file
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as target:
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            target.write(content)
            if durable:
                target.flush()
                sync(descriptor)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
