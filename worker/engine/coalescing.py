"""What a transport is told of the messages that it is to deliver: one as it is, several as one text.

In a group each message has a preamble of its own, and no line of a body can pass for one.
"""

from worker.classes import CLASSES
from worker.ledger.claims import Claim
from worker.ledger.groups import Grouped
from worker.terminal import preamble
from worker.transports.command import Envelope

SEVERAL = "several"  # who a group is from that is not from one


def text_of(claim: Claim) -> str:
    """The text of a claim: of its message, or of all that go together, a message from a line of its own on."""
    if not claim.together:
        return claim.text
    return "\n".join(_addressed(one, claim.agent) for one in claim.together)


def envelope_of(claim: Claim) -> Envelope:
    """What its transport sees. A group has the ids of the message that was claimed, and what all of it agree in."""
    sources, classes = {claim.source}, {claim.message_class}
    for one in claim.together:
        sources.add(one.source)
        classes.add(one.message_class)
    return Envelope(
        agent=claim.agent,
        project=claim.project or "",
        stream=claim.stream,
        message_id=claim.message_id,
        source=sources.pop() if len(sources) == 1 else SEVERAL,
        text=text_of(claim),
        # Who reads it gives a person's words more weight: all of it has to be a person's.
        message_class=(classes.pop() or "") if len(classes) == 1 else "",
        timestamp=claim.sent_at or "",
        key=key_of(claim),
        attempt=claim.attempt,
        messages=len(claim.together) or 1,
    )


def key_of(claim: Claim) -> str:
    """The message's key, for people and for SOS_MESSAGE_KEY."""
    return f"{claim.agent}/{claim.stream}/{claim.message_id}"


def _addressed(one: Grouped, agent: str) -> str:
    known = one.message_class if one.message_class in CLASSES else None
    return preamble.compose(one.source or "unknown", agent, known, one.text)
