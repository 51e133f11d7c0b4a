"""Messages as the bus client hands them on."""

from worker.bus.wire import InboxMessage

STREAM = "sos:stream:global:agent:a"


def message(
    ms: int, seq: int = 0, *, source: str = "agent:s", stream: str = STREAM, text: str = "hello"
) -> InboxMessage:
    return InboxMessage(
        stream=stream, message_id=f"{ms}-{seq}", ms=ms, seq=seq, source=source, text=text,
        message_class=None, project=None, timestamp=None,
    )  # fmt: skip
