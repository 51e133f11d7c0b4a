"""A ledger in memory, with just what collecting an inbox needs to know."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.bus.wire import InboxMessage

OVERLAP_MS = 60_000


@dataclass
class MemoryLedger:
    """`floor`: ids at or below it count as known. `taken`: every message taken, in order."""

    floor: tuple[int, int] = (0, 0)
    taken: list[InboxMessage] = field(default_factory=list)
    keys: set[tuple[str, str]] = field(default_factory=set)
    newest: tuple[int, int] = (0, 0)

    def cursor(self) -> tuple[int, int]:
        return max(self.floor, (max(0, self.newest[0] - OVERLAP_MS), 0))

    def overlap(self) -> int:
        cursor = self.cursor()
        return sum((message.ms, message.seq) > cursor for message in self.taken)

    def known(self, messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        return {
            message.key for message in messages if message.key in self.keys or (message.ms, message.seq) <= self.floor
        }

    def take(self, messages: Sequence[InboxMessage]) -> None:
        for message in messages:
            assert message.key not in self.keys, "taken twice"
            self.taken.append(message)
            self.keys.add(message.key)
            self.newest = max(self.newest, (message.ms, message.seq))
