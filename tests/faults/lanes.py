"""Lanes to break: transports that keep a record, what each is owed, and the verdict on what they did."""

import random
import sys
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.bridges import FakeBridge
from tests.faults.record import Verdict, judge
from tests.world.config import QUICK
from tests.world.processes import CONSUMER, Process
from tests.world.waiting import PATIENCE, until
from tests.world.world import World
from worker.transports.locks import flock_is_free, launcher_lock

# A text that begins with "fail" fails at its first attempt, and leaves no record of that; `gate` hangs until it opens.
_TRANSPORT = """
case "$2" in fail*) [ "$SOS_DELIVERY_ATTEMPT" = 1 ] && exit 1; set -- "$1" "${2#fail}";; esac
echo "$SOS_MESSAGE_KEY $SOS_DELIVERY_ATTEMPT start" >> "$1"
home=${1%/*}
case "$2" in
gate) while [ -d "$home" ] && [ ! -e "$home/gate" ]; do sleep 0.05; done;;
*) sleep "$2";;
esac
echo "$SOS_MESSAGE_KEY $SOS_DELIVERY_ATTEMPT end" >> "$1"
"""

# A tmux for `send-message --look`, which asks it for the panes once: that is the run. The record is its "socket".
_TMUX = """
case "$4" in
list-panes)
  echo "$SOS_MESSAGE_KEY $SOS_DELIVERY_ATTEMPT start" >> "$3"
  sleep "$SOS_MESSAGE_TEXT"
  echo "$SOS_MESSAGE_KEY $SOS_DELIVERY_ATTEMPT end" >> "$3"
  echo "%1:0:1:/dev/none:0:0:session::window";;
*) echo "0|0|0|0|1|/dev/none|0|0|1|80|24||||title";;
esac
"""


class Lanes(World):
    """`lanes` agents with one recording transport each (or one agent with as many transports), on one bridge.

    `sends`: the transports are terminal sends, so that a warm process runs them.

    The text of a message is how long its transports last, in seconds, or `gate`: until that file is there. Everything
    random comes from `seed`.
    """

    consumer_command: tuple[str, ...] = CONSUMER

    def __init__(
        self,
        home: Path,
        *,
        lanes: int = 3,
        seed: int = 1,
        one_agent: bool = False,
        sends: bool = False,
        longest: float = 0.3,
        transport: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        state: Path | None = None,
    ) -> None:
        super().__init__(home, state=state or home / "state")
        self.random = random.Random(seed)
        self.longest = longest
        self.bridge = FakeBridge("C")
        self.wake = self.script("tmux", _TMUX) if sends else self.script("wake", _TRANSPORT)
        self._sends = sends
        self.sent: dict[Path, list[str]] = {}
        self.lanes: dict[str, list[Path]] = {}
        names = ["a0"] if one_agent else [f"a{n}" for n in range(lanes)]
        self._agents = [self._lane_agent(name, lanes if one_agent else 1, transport or {}) for name in names]
        self._settings = QUICK | {"poll_interval": 1} | (settings or {})
        self.configure(*self._agents, **self._settings)

    def _lane_agent(self, name: str, transports: int, extra: dict[str, Any]) -> dict[str, Any]:
        self.lanes[name] = [self.home / f"{name}-{n}.record" for n in range(transports)]
        self.sent.update({record: [] for record in self.lanes[name]})
        chosen = [
            {"name": f"t{n}", "command": self._command(record), **extra} for n, record in enumerate(self.lanes[name])
        ]
        token_file = self.config.with_name(f"{name}.token")
        self.write_private(token_file, self.bridge.add_token(name))
        return {"agent": name, "bridge_url": self.bridge.url, "token_file": str(token_file), "transports": chosen}

    def _command(self, record: Path) -> list[str]:
        if not self._sends:
            return [self.wake, str(record), "{text}"]
        program = str(Path(sys.executable).with_name("send-message"))
        return [program, "--look", "-t", "%1", "--tmux", self.wake, "--socket-path", str(record)]

    def __enter__(self) -> Self:
        self.bridge.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.bridge.__exit__(kind, error, trace)

    def reconfigure(self, *, whole: bool = False) -> None:
        """Replace the configuration by another at random, in one step: some of the agents, other limits, other order.

        `whole`: all the agents again.
        """
        count = len(self._agents) if whole else self.random.randint(1, len(self._agents))
        agents = [
            {**agent, "transports": [{**one, "timeout": self.random.randint(20, 60)} for one in agent["transports"]]}
            for agent in self.random.sample(self._agents, count)
        ]
        final = self.config
        self.config = final.with_suffix(".next")
        self.configure(*agents, **self._settings)
        self.config = self.config.replace(final)

    # -- the bus -----------------------------------------------------------------------------------------------------

    def feed(self, count: int, *, agent: str | None = None, text: str | None = None, failing: bool = False) -> None:
        """Put messages into the inboxes, the agents by turns chosen at random; `failing`: at their first attempt."""
        for _ in range(count):
            name = agent or self.random.choice(sorted(self.lanes))
            duration = f"{'fail' * failing}{self.random.uniform(0, self.longest):.3f}"
            ms, seq = self.bridge.streams.add(name, duration if text is None else text)
            key = f"{name}/sos:stream:global:agent:{name}/{ms}-{seq}"
            for record in self.lanes[name]:
                self.sent[record].append(key)

    # -- consumers ---------------------------------------------------------------------------------------------------

    def start_worker(self, *command: str, step: str = "") -> Process:
        """Start a consumer, by default huey's own; `step` is where it is to be killed."""
        armed = {"BUS_WATCH_FAULT_STEP": step} if step else {}
        return self.start(*(command or self.consumer_command), **armed)

    def serving(self) -> bool:
        """Whether a launcher lives: the consumer is past its start."""
        return any(not flock_is_free(path) for path in self.files.glob(Path(launcher_lock("", "*")).name))

    # -- the end -----------------------------------------------------------------------------------------------------

    def owed(self) -> int:
        """How many messages were sent."""
        return sum(len(self.sent[records[0]]) for records in self.lanes.values())

    def keys(self, state: str) -> frozenset[str]:
        """The keys of the messages that have a delivery in this state, by the ledger."""
        return frozenset(
            row[0]
            for row in self.rows(
                """
                select m.agent || '/' || m.stream || '/' || m.message_id
                from deliveries d join messages m on m.id = d.message where d.state = ?
                """,
                state,
            )
        )

    def given_up_by_the_last_worker(self) -> list[str]:
        """The keys of attempts that it settled as interrupted itself, between its launcher's end and its own."""
        rows = self.rows(
            """
            select m.agent || '/' || m.stream || '/' || m.message_id
            from attempts a join deliveries d on d.id = a.delivery join messages m on m.id = d.message
            where a.result like 'interrupted%'
            and a.worker = (select id from workers order by started_at desc limit 1)
            """
        )
        return [row[0] for row in rows]

    def drained(self) -> bool:
        """Whether all that was sent is in the ledger, and nothing is left to do without a person."""
        # In this order: between the two a poll may commit what was sent.
        return self.count("select count(*) from messages") == self.owed() and self.is_done()

    def drain(self, patience: float = PATIENCE) -> None:
        """Let the consumers that run finish the work."""
        until(self.drained, "all messages to be over", patience)

    def verdict(self, *, interrupted: Counter[str] | None = None, unfinished: frozenset[str] = frozenset()) -> Verdict:
        """The judgement by the transports' record."""
        return judge(self.sent, interrupted=interrupted, unfinished=unfinished)

    def states(self) -> dict[str, int]:
        """How many deliveries are in which state, by the ledger."""
        return {
            row[0]: row[1] for row in self.rows("select state, count(*) from deliveries group by state order by state")
        }
