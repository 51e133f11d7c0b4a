"""An agent's own record: a file of JSON lines that grows. One that cannot be read proves nothing, nor the contrary."""

from collections.abc import Iterator

from worker.terminal.channels import owned
from worker.terminal.channels.channel import AsideError


def lines(path: str, start: int = 0) -> Iterator[tuple[bytes, int]]:
    """The whole lines behind byte `start`, each with where it ends; none if there is no such file.

    Raises:
        AsideError: what the record has cannot be told.
    """
    try:
        with owned.opened(path, called=f"the record {path}") as handle, open(handle, "rb", closefd=False) as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                yield line, start
    except FileNotFoundError:
        return
    except OSError as why:
        raise AsideError(f"the record {path}: {why.strerror}") from None
