"""What a channel is: the words that every channel's module and the chain share.

`find` of a channel's module gives the session that the pane shows, or raises `AsideError` where it is not there, is not
what was measured, or is not certainly this pane's. A `Session` looks a message up, and sends it.

Promises: `AsideError` means that the agent has got nothing, so that the next link may be tried. Of what `send` raises
only `NotTakenError` means that: from the moment at which the agent may have got something, a session gives a verdict,
and what cannot be known is `unproven`.
"""

from dataclasses import dataclass
from typing import Protocol

from worker.errors import BusWatchError
from worker.terminal.channels.names import NOT_MEASURED
from worker.terminal.processes import Process
from worker.terminal.proof import Verdict
from worker.terminal.transcript import Surroundings


class AsideError(BusWatchError):
    """This channel does not take the message, and the agent has got nothing of it; the words say why."""

    code = "aside"
    exit_status = 69


class DriftError(AsideError):
    """What was met is not what was measured: another version of the agent, perhaps."""

    code = "drift"

    def __str__(self) -> str:
        return NOT_MEASURED + super().__str__()


class NotTakenError(AsideError):
    """What was sent, or was to be, has certainly not been taken; the words say why."""

    code = "not_taken"


@dataclass(frozen=True, slots=True)
class Site:
    """Where an agent was found."""

    process: Process
    """What its profile knows of the pane's foreground."""
    group: tuple[Process, ...]
    """All of the pane's foreground."""
    where: Surroundings
    title: str
    """The pane's, as the agent has set it."""
    screen: str
    """What the pane showed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One text on its way."""

    id: str
    """32 hexadecimal digits: every attempt to deliver one message of the bus says the same."""
    text: str
    session: str = ""
    """The `Session.id` to which an earlier attempt has handed it, where that is known: it may be there."""
    ended: bool = False
    """Whether the process that was handed it has certainly ended, and with it what waited there."""


class Session(Protocol):
    """The conversation that the pane shows, as its agent's channel reaches it."""

    id: str
    """What the agent calls it."""
    busy: bool
    """Whether a turn ran when it was found."""

    def lookup(self, message: Message) -> Verdict | None:
        """What has become of the message already; None if it certainly got to neither this session nor the message's.

        Raises:
            AsideError: it cannot be told.
        """

    def send(self, message: Message, until: float) -> Verdict:
        """Hand the message over, and say by `until` (monotonic clock) what became of it.

        Raises:
            NotTakenError: it was refused, or could not be handed over.
        """

    def close(self) -> None:
        """End the connection."""


class Module(Protocol):
    """What the module of a channel has."""

    def find(self, site: Site, until: float, handed: str = "") -> Session:
        """The session that the pane shows.

        Args:
            site: the pane's agent.
            until: monotonic time.
            handed: the `Session.id` to which an earlier attempt gave the message that is to be looked up. Where the
                pane's own is not certain it is that one, which is only looked in.

        Raises:
            AsideError: not there, not known, or not certainly this pane's.
        """
