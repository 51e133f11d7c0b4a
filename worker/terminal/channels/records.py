"""An agent's own record: a file of JSON lines that grows. One that cannot be read proves nothing, nor the contrary."""

from collections.abc import Callable, Iterable, Iterator

from worker.terminal.channels import owned
from worker.terminal.channels.channel import AsideError, Message, NotTakenError
from worker.terminal.proof import Verdict


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


class Records:
    """A session that cannot be asked: only its records prove a message, and nothing disproves one.

    See `channel.Session`.
    """

    busy = False

    def __init__(
        self, session: str, paths: Iterable[str], took: Callable[[str, Message], bool], why: AsideError
    ) -> None:
        """`took`: whether a record says that a turn took the message; `why`: why its session is not asked."""
        self.id = session
        self._paths, self._took, self._why = paths, took, why

    def lookup(self, message: Message) -> Verdict:
        """See `channel.Session.lookup`."""
        for path in self._paths:
            if self._took(path, message):
                return Verdict("submitted", "its turn began earlier", f"record {path}")
        raise self._why

    def send(self, message: Message, until: float) -> Verdict:  # noqa: ARG002 - as every session
        """See `channel.Session.send`."""
        raise NotTakenError(str(self._why))

    def close(self) -> None:
        """There is no connection."""
