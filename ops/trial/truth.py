"""What the model's log says about the messages that were sent."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.trial.cases import Message
from ops.trial.model import MARKER
from ops.trial.stopping import go_on
from ops.trial.uis import UI

IMAGE = re.compile(r"\[Image #?\d+\]")
APART = re.compile(r"@ (?=\S)")
"""Where a profile has `mentions`, a blank behind an `@` is its doing: the UI shall read no file for it."""
COMMAND = re.compile(r"[/!#@&$?]|(exit|quit|:q)\b")
"""What must not stand first in a box as it is, so that a profile may put a guard in front."""


@dataclass(frozen=True)
class Found:
    """How one message arrived: `times` it stands in the conversation, and whether it is `intact` wherever it does."""

    times: int
    intact: bool
    seen: str


class Truth:
    """The log of one stand-in model, read as it grows."""

    def __init__(self, log: Path, ui: UI) -> None:
        self.log = log
        self._ui = ui
        self._read = 0
        self.requests: list[dict[str, Any]] = []

    def refresh(self) -> None:
        """Read what is new. A line that is still being written is left for the next time."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        self.requests += [json.loads(line) for line in whole.splitlines()]

    def main(self) -> list[dict[str, Any]]:
        """The requests that carry the conversation (side requests repeat its words)."""
        return [request for request in self.requests if request["main"]]

    def wait(self, message: Message, limit: float, since: int = 0) -> bool:
        """Wait until `message` has arrived, in any form; whether it did. For `since` see `found`."""
        end = time.monotonic() + limit
        while True:
            go_on()
            self.refresh()
            if self.found(message, since).times:
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)

    def found(self, message: Message, since: int = 0) -> Found:
        """How `message` arrived. One without a marker is looked for in the requests after the first `since`."""
        if not message.marker:
            return self._alone_in_its_block(message, since)
        requests = self.main()
        times = max((request["markers"].count(message.marker) for request in requests), default=0)
        blocks = {text for request in requests for text in request["new"] if message.marker in text}
        wanted = [self._plain(form) for form in message.forms]
        intact = bool(blocks) and all(
            any(self._alone(self._bare(self._plain(block), form), form) for form in wanted) for block in blocks
        )
        return Found(times, intact, "" if intact else " | ".join(sorted(blocks)))

    def answered(self, message: Message, last: str) -> bool:
        """Whether the model's answer to `message`, which ends with the word `last`, stands whole in a later request.

        True as well for a UI that never gives back what the model said (IPython), of which nobody can tell.
        """
        self.refresh()
        backs = [request["back"] for request in self.main() if request["back"]]
        answers = [back for back in backs if f"ok {message.marker}" in back]
        return not backs or any(re.search(rf"\b{last}\b", answer) for answer in answers)

    def handed_over(self, files: Sequence[str]) -> bool:
        """Whether one of the files with these markers has reached the model, in whatever part of whichever request."""
        return any(set(files) & set(request["files"]) for request in self.requests)

    def together(self, first: Message, last: Message) -> bool:
        """Whether some request holds both: the conversation was not emptied between them."""
        self.refresh()
        return any({first.marker, last.marker} <= set(request["markers"]) for request in self.main())

    def _alone_in_its_block(self, message: Message, since: int) -> Found:
        """Without a marker it can only be told by being all of what was said."""
        wanted = [self._plain(form) for form in message.forms]
        requests = [request for request in self.requests[since:] if self._counts(request)]
        blocks = [self._plain(text) for request in requests for text in request["new"]]
        times = sum(any(self._bare(block, form) == form for form in wanted) for block in blocks)
        return Found(times, times > 0, "" if times else " | ".join(blocks))

    def strays(self, expected: list[str]) -> list[str]:
        """Texts in the conversation that nobody sent: parts of broken messages, drafts that were not ours to send."""
        texts = {text for request in self.main() for text in request["new"] if not self._ui.is_own(text)}
        wanted = sorted({self._plain(text) for text in expected}, key=len, reverse=True)
        return [text for text in texts if not self._consists_of(self._plain(text), wanted)]

    def _counts(self, request: dict[str, Any]) -> bool:
        return bool(request["main"]) and not request.get("tool_result")

    def _plain(self, text: str) -> str:
        """`text` as the UI hands it over, without what is around it, its images' numbers and our blanks behind `@`."""
        plain = IMAGE.sub("[Image]", self._ui.changes(text)).strip()
        return APART.sub("@", plain) if self._ui.apart else plain

    def _bare(self, block: str, wanted: str) -> str:
        """`block` without what the profile put around `wanted`."""
        for guard in self._ui.guards:
            if COMMAND.match(wanted):
                block = block.replace(guard + wanted, wanted)
            block = block.replace(wanted + guard, wanted)
        return block.strip()

    @staticmethod
    def _alone(block: str, wanted: str) -> bool:
        """Is `wanted` in `block` as it was sent, beside nothing but other whole messages?"""
        before, found, after = block.partition(wanted)
        # Joined messages are separated by blank lines; whole ones are recognised by `strays`.
        joined = (not before or before.endswith("\n")) and (not after or after.startswith("\n"))
        return bool(found) and joined and (not (before or after) or bool(MARKER.search(before + after)))

    def _consists_of(self, text: str, wanted: list[str]) -> bool:
        """Is `text` nothing but whole messages, with space between them?"""
        for message in wanted:
            if message and message in text:
                text = self._bare(text, message).replace(message, "", 1)
        return not text.strip()
