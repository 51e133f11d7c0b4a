"""What a person is told, as a channel gets it: the text of the message that the engine wrote."""

import json
from dataclasses import dataclass
from typing import Any

from worker.alerts.errors import RefusedError

FACTS = ("event", "condition", "about", "host", "at", "opened_at", "alert", "summary")


@dataclass(frozen=True, slots=True)
class Alert:
    """One telling. `facts` are all that JSON channels send, `key` stays the same when it has to be told again."""

    facts: dict[str, Any]
    key: str
    detail: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it tells of the end."""
        return bool(self.facts["event"] == "closed")

    @property
    def title(self) -> str:
        """One line: which machine, and what."""
        over = " (over)" if self.is_over else ""
        return f"bus-watch on {self.facts['host']}: {self.facts['condition']}{over}"

    @property
    def body(self) -> str:
        """What happened and what to do; with the detail where it was asked for."""
        return f"{self.facts['summary']}\n\n{self.detail}" if self.detail else str(self.facts["summary"])


def read(text: str, key: str, *, include_text: bool) -> Alert:
    """The alert in a message's text: a line for people, then a line of JSON. RefusedError: there is none in it."""
    try:
        told = json.loads(text.partition("\n")[2])
        facts: dict[str, Any] = {name: str(told[name]) for name in FACTS}
        facts["abouts"] = [str(one) for one in told["abouts"]]
    except (ValueError, KeyError, TypeError):
        raise RefusedError("this is no alert of bus-watch's: its text was cleared, or is somebody else's") from None
    return Alert(facts, key, str(told.get("detail", "")) if include_text else "")
