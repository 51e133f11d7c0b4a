"""The line behind a message that says how to answer it, worded so that nobody answers out of politeness.

Agents that are told to acknowledge thank each other for ever.
"""

import functools
import shlex
import shutil
from pathlib import Path

from worker.classes import LOGGED_CLASS
from worker.install.errors import InstallError
from worker.install.installation import script
from worker.ledger.claims import Claim
from worker.state_files import DEFAULT_CONFIG


@functools.cache
def _program() -> str:
    """What an agent's shell finds: the whole path where we are in no folder of the system's.

    codex 0.171.0 starts a login shell, whose PATH is that of /etc/profile.
    """
    if shutil.which("bus-watch", path="/usr/local/bin:/usr/bin:/bin"):
        return "bus-watch"
    try:
        return shlex.quote(str(script("bus-watch")))
    except InstallError:
        return "bus-watch"


def hinted(claim: Claim, config: Path) -> Claim:
    """The claim with the hint behind its text, or behind each of those that go together."""
    program = _program()
    where = "" if config == DEFAULT_CONFIG.expanduser() else f"--config {shlex.quote(str(config))} "

    def hint(text: str, source: str, message_class: str | None, place: str) -> str:
        """The text alone where nobody could be answered, or wants to be."""
        if not source.startswith("agent:") or message_class == LOGGED_CLASS:
            return text
        return f"{text}\n(Only if the sender needs an answer: {program} reply {where}{claim.agent}/{place} 'TEXT')"

    def place(stream: str, message_id: str) -> str:
        """With a project there are two streams, in which the same id may occur."""
        return f"{stream}/{message_id}" if two_streams else message_id

    two_streams = claim.project is not None or any(one.stream != claim.stream for one in claim.together)
    if claim.together:
        together = tuple(
            one._replace(text=hint(one.text, one.source, one.message_class, place(one.stream, one.message_id)))
            for one in claim.together
        )
        return claim._replace(together=together)
    return claim._replace(
        text=hint(claim.text, claim.source, claim.message_class, place(claim.stream, claim.message_id))
    )
