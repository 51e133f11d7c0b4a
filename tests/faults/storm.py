"""A storm of messages to one busy agent whose transport coalesces, while the consumer is killed again and again."""

import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.lanes import Lanes
from tests.world.waiting import until

# A message is `#NUMBER`. The agent is busy for a while after each wake: until then nothing is done, and it says so.
_AGENT = """
busy=$(cat "$1.busy" 2>/dev/null || echo 0)
[ "$(date +%s)" -lt "$busy" ] && exit 75
numbers=$(sed -n 's/^.*#\\([0-9]*\\)$/\\1/p' | tr '\\n' ' ')
echo "start $numbers" >> "$1"
sleep 0.3
echo "end $numbers" >> "$1"
echo $(($(date +%s) + $2)) > "$1.busy"
"""


class Weathered(NamedTuple):
    """What the agent was told: the numbers of each wake that began, and how many wakes ended."""

    owed: int
    wakes: list[list[int]]
    ended: int

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, in order."""
        told = [number for wake in self.wakes for number in wake]
        return told == list(range(self.owed)) and self.ended == len(self.wakes)

    def words(self) -> str:
        """The figures on one line, and what is wrong."""
        told = [number for wake in self.wakes for number in wake]
        lost = sorted(set(range(self.owed)) - set(told))
        wrong = {"lost": lost[:5], "doubled": len(told) - len(set(told)), "in order": told == sorted(told)}
        return f"{self.owed} owed, {len(told)} told in {len(self.wakes)} wakes, {self.ended} ended; {wrong}"


class Storm(Lanes):
    """One agent, one lane."""

    def __init__(self, home: Path, *, coalesce: float, busy: int, seed: int = 1) -> None:
        self.told = home / "told"
        home.mkdir(parents=True, exist_ok=True)
        agent = home / "agent.sh"
        agent.write_text(_AGENT)
        command = ["/bin/sh", str(agent), str(self.told), str(busy)]
        transport = {"command": command, "stdin": True, "coalesce": coalesce}
        super().__init__(home, lanes=1, seed=seed, transport=transport, settings={"allowlist": ["/bin/sh"]})

    def weather(self, *, messages: int, seconds: float, kills: int, patience: float = 180.0) -> Weathered:
        """So many messages come evenly in so many seconds, and the consumer is killed so often meanwhile."""
        storm = threading.Thread(target=self._blow, args=(messages, seconds))
        storm.start()
        for _ in range(kills):
            process = self.start_worker()
            until(self.serving, "a consumer to start")
            time.sleep(self.random.uniform(0.0, 2.0 * seconds / kills))
            process.kill()
            process.wait()
            until(lambda: not self.serving(), "its launcher to end")
        self.start_worker()
        storm.join()
        until(self.drained, "all messages to be over", patience)
        lines = [line.split() for line in self.told.read_text().splitlines()]
        wakes = [[int(word) for word in numbers] for what, *numbers in lines if what == "start"]
        return Weathered(messages, wakes, sum(what == "end" for what, *_ in lines))

    def _blow(self, messages: int, seconds: float) -> None:
        begun = time.monotonic()
        for number in range(messages):
            time.sleep(max(0.0, begun + seconds * number / messages - time.monotonic()))
            self.feed(1, text=f"#{number}")
