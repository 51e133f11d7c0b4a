"""The conditions that `status`, `doctor` and alerts know: what is wrong, by a stable name that scripts may match on."""

from enum import StrEnum


class Condition(StrEnum):
    """What is wrong."""

    STUCK = "stuck"
    """A lane's head does not move: it fails, nobody is there, or its transport runs longer than its time-out."""
    PAUSED = "paused"
    """A transport is paused, and messages wait for it."""
    ORPHANED = "orphaned"
    """Messages wait for a transport, or are sent by an agent, that is not configured any more."""
    HELD = "held"
    """Nobody knows whether a message was delivered or sent: a person has to say."""
    DEAD = "dead"
    """A message was not delivered, or not sent, and nothing tries again."""
    UNSENT = "unsent"
    """The bus does not take what an agent sends."""
    TOKEN_REFUSED = "token-refused"  # noqa: S105 - the name of a condition
    """The bus refuses an agent's token, or it cannot be read."""
    BUS_DOWN = "bus-down"
    """The bus does not answer an agent's polls."""
    INBOX = "inbox"
    """Something in an agent's inbox, or the bus's clock, is not as it should be."""
    WORKER_SILENT = "worker-silent"
    """A worker lives and does not do its work: it hangs, or is stopped."""
    WORKER_GONE = "worker-gone"
    """No worker ran for a while, and one does again. Told once, as an end: nobody was there to tell the beginning."""
    CONFIGURATION = "configuration"
    """What runs is not what is configured or installed."""
    DRIFTED = "drifted"
    """An agent's UI, or its channel, is not as it was measured."""
    DISK_LOW = "disk-low"
    """The ledger's disk is nearly full."""
