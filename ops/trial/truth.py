"""What the model's log says about the messages that were sent."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.trial.model import MARKER
from ops.trial.stopping import go_on
from ops.trial.uis import UI


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

    def wait(self, marker: str, limit: float) -> bool:
        """Wait until a message with `marker` has arrived; whether it did."""
        end = time.monotonic() + limit
        while True:
            go_on()
            self.refresh()
            if any(marker in request["markers"] for request in self.main()):
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)

    def found(self, marker: str, expected: str) -> Found:
        """How the message with `marker`, which should read `expected` (but for spaces around it), arrived."""
        requests = self.main()
        times = max((request["markers"].count(marker) for request in requests), default=0)
        blocks = {text for request in requests for text in request["new"] if marker in text}
        wanted = self._ui.changes(expected).strip()
        intact = bool(blocks) and all(self._alone(self._bare(block, wanted), wanted) for block in blocks)
        return Found(times, intact, "" if intact else " | ".join(sorted(blocks)))

    def strays(self, expected: list[str]) -> list[str]:
        """Texts in the conversation that nobody sent: parts of broken messages, drafts that were not ours to send."""
        texts = {text for request in self.main() for text in request["new"] if not self._ui.is_own(text)}
        wanted = sorted((self._ui.changes(text).strip() for text in expected), key=len, reverse=True)
        return [text for text in texts if not self._consists_of(text, wanted)]

    def _bare(self, block: str, wanted: str) -> str:
        """`block` without what the profile put around `wanted`."""
        for guard in self._ui.guards:
            block = block.replace(guard + wanted, wanted).replace(wanted + guard, wanted)
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
