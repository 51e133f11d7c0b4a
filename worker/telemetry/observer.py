"""What the engine tells about its work, for whoever counts or reports it; with nobody listening it costs a call."""

from typing import NamedTuple

from worker.delivery import Meaning, State
from worker.errors import BusWatchError
from worker.settings import Settings


class Ended(NamedTuple):
    """How an attempt ended and what became of a delivery by it.

    `cause` holds nothing that the transport printed, `reason` may, `output` is what it printed, redacted.
    `is_companion`: it is not the one that the attempt was begun for, but went together with it. Times are epoch
    seconds: when the message came into the ledger, and when this attempt began and was settled.
    """

    agent: str
    transport: str
    message_id: str
    delivery: int
    attempt: int
    meaning: Meaning
    cause: str
    state: State
    began_failing: bool
    reason: str = ""
    is_companion: bool = False
    output: str = ""
    received_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0


class Observer:
    """Somebody who wants to know; a subclass takes what it needs."""

    @property
    def wants_ends(self) -> bool:
        """Whether `ended` does anything: it is told so much that putting it together is saved where it does not."""
        return type(self).ended is not Observer.ended

    def started(self, agent: str, transport: str, attempt: int, waited: float) -> None:
        """An attempt starts, `waited` seconds after its message came."""

    def ended(self, what: Ended) -> None:
        """An attempt was settled; comes once for each delivery that it made."""

    def unknown_screen(self, ui: str, version: str) -> None:
        """A transport met a screen that the profile `ui` does not explain, of the agent's `version` (or "")."""

    def unknown_channel(self, ui: str, version: str) -> None:
        """The channel of the agent `ui`, of that version (or ""), was not as it was measured."""

    def expired(self, agent: str, transport: str, message_id: str) -> None:
        """A delivery went dead without an attempt: it was too old when its turn came."""

    def trouble(self, error: BusWatchError) -> None:
        """A poll or a sweep could not do its work: the ledger cannot be used. Comes again as long as it lasts."""

    def crashed(self, error: Exception) -> None:
        """A poll failed in a way that nobody foresaw. What fails so in a task of huey's, its integration reports."""

    def configured(self, settings: Settings) -> None:
        """These settings are in force from now on."""

    def swept(self) -> None:
        """A sweep is over; comes every few seconds while the worker is well."""

    def launcher_died(self) -> None:
        """The launcher is gone without having been asked to go: this worker stops."""
