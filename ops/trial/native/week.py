"""A week's worth of work at once: bus, worker and three real agents, of which now and then each is killed or restarted.

Nothing may be lost or doubled, and each agent must get its messages in the order in which they were sent, whichever way
each went. What is held (nobody knows whether it arrived) is settled as its owner would, by a look at the agent.
"""

import argparse
import contextlib
import json
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ops.trial.cases import marker
from ops.trial.native.stack import Stack, Transports
from ops.trial.native.trial import mark_of, ready_for_channels
from ops.trial.sessions import Session

UIS = ("codex", "claude", "opencode")
AHEAD = 6  # messages of one agent that may be on their way at once
SETTLES = 180.0  # seconds after the last one was sent for all to arrive


@dataclass
class Agent:
    """One agent of the week."""

    session: Session
    via: str = "auto"
    sent: list[str] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    """When it was ended: what it was told before and after are two conversations."""
    open: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def seen(self) -> list[str]:
        """The markers in the order in which its model met them, each as often as a conversation has it."""
        with self.guard:
            self.session.truth.refresh()
            asked = self.session.truth.main()
        found: list[str] = []
        times = list(self.ends)
        for start, end in zip([0.0, *times], [*times, float("inf")], strict=True):
            have = Counter[str]()
            for one in asked:
                if not start <= one["at"] < end:
                    continue
                new = Counter(one["markers"]) - have
                found += [mark for mark in dict.fromkeys(one["markers"]) for _ in range(new[mark])]
                have |= Counter(one["markers"])
        return found


class Week:
    """One run."""

    def __init__(self, agents: dict[str, Agent], options: argparse.Namespace) -> None:
        self.agents, self.options = agents, options
        self.began = time.monotonic()
        self.kills = self.settled = self.switches = self.restarts = 0
        self.over = threading.Event()
        self.stack = Stack(self.transports())

    def transports(self) -> Transports:
        """As the agents' channels are switched now."""
        found = {}
        for name, agent in self.agents.items():
            found[name] = ["-L", agent.session.server.name, "-t", agent.session.name, "--via", agent.via]
            found[name] += ["--authority", "peer"]
        return found

    def progress(self) -> float:
        """The share of the messages that were sent."""
        return sum(len(one.sent) for one in self.agents.values()) / float(self.options.messages)

    def run(self) -> dict[str, Any]:
        """Send all of it, with what goes wrong meanwhile; the result."""
        jobs = [threading.Thread(target=self._send, args=(name,)) for name in self.agents]
        jobs += [threading.Thread(target=job, daemon=True) for job in (self._kill, self._restart, self._switch)]
        with self.stack:
            for job in jobs:
                job.start()
            for job in jobs[: len(self.agents)]:
                while job.is_alive():
                    job.join(15.0)
                    self._tell()
            end = time.monotonic() + SETTLES
            while time.monotonic() < end and not self._all_there():
                time.sleep(3.0)
                self._settle()
                self._tell()
            self.over.set()
            for job in jobs:
                job.join(30)
            time.sleep(5.0)
            ways = self._ways()
        return self._result(ways)

    def _send(self, name: str) -> None:
        agent = self.agents[name]
        count = self.options.messages // len(self.agents)
        for number in range(count):
            while not agent.open.wait(1.0):
                if self._late():
                    return
            if self._late():
                return
            while len(agent.sent) - len(set(agent.seen())) >= AHEAD:
                if self._late():
                    return
                time.sleep(0.3)
            text = f"{random.choice(('note', 'note', 'note', 'slow1'))} {number} {marker()}"
            self.stack.send(name, text)
            agent.sent.append(mark_of(text))
            time.sleep(random.uniform(0.0, 1.2))

    def _tell(self) -> None:
        there = {name: f"{len(set(one.seen()))} of {len(one.sent)}" for name, one in self.agents.items()}
        seconds = round(time.monotonic() - self.began)
        print(f"{seconds} s, {self.kills} kills, {self.restarts} restarts: {there}", file=sys.stderr, flush=True)

    def _late(self) -> bool:
        return bool(self.options.limit) and time.monotonic() - self.began > self.options.limit

    def _kill(self) -> None:
        while self.kills < self.options.kills and not self.over.is_set():
            if self.progress() * self.options.kills <= self.kills:
                time.sleep(0.2)
                continue
            time.sleep(random.uniform(0.2, 1.5))
            self.stack.kill()
            self.kills += 1

    def _restart(self) -> None:
        order = [name for _ in range(2) for name in self.agents]
        for number, name in enumerate(order):
            while self.progress() < (number + 1) / (len(order) + 1):
                if self.over.wait(0.3):
                    return
            agent = self.agents[name]
            agent.open.clear()  # what it has in its own queue when it is ended is lost with it
            end = time.monotonic() + 60
            while len(set(agent.seen())) < len(agent.sent) and time.monotonic() < end:
                time.sleep(0.3)
            time.sleep(3.0)  # the answer to the last one
            agent.session.stop()
            agent.ends.append(time.time())
            agent.open.set()  # from here on messages come for somebody who is not there
            time.sleep(2.0)
            agent.session.start()
            with contextlib.suppress(SystemExit):
                agent.session.ready(60)
            self.restarts += 1

    def _switch(self) -> None:
        share = 0.0
        while not self.over.is_set() and share < 1:
            share += 0.08
            while self.progress() < share:
                if self.over.wait(0.3):
                    return
            agent = random.choice(list(self.agents.values()))
            agent.via = "type" if agent.via == "auto" else "auto"
            self.stack.configure(self.transports())
            self.stack.words("reload")
            self.switches += 1

    def _all_there(self) -> bool:
        return all(set(one.sent) <= set(one.seen()) for one in self.agents.values())

    def _settle(self) -> None:
        """Look at what is held, and drop it if it arrived, else let it run again."""
        for one in self.stack.json("queue").get("deliveries", []):
            if one["state"] != "held":
                continue
            agent = self.agents[one["agent"]]
            text = str(self.stack.json("show", one["key"])["text"])
            there = mark_of(text) in agent.seen()
            self.stack.words("drop" if there else "retry", one["key"])
            self.settled += 1

    def _ways(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for name in self.agents:
            rows = self.stack.json("history", "--agent", name, "-n", str(2 * self.options.messages))
            ways = [one["ways"].get("wake", {}).get("channel") or one["deliveries"].get("wake") for one in rows]
            found[name] = dict(Counter(str(one) for one in ways))
        return found

    def _result(self, ways: dict[str, dict[str, int]]) -> dict[str, Any]:
        result: dict[str, Any] = {"case": "a week's worth", "ui": "codex, claude, opencode", "by": ways}
        lost, doubled, disorder = 0, 0, 0
        for agent in self.agents.values():
            seen = agent.seen()
            first = [one for one in dict.fromkeys(seen) if one in set(agent.sent)]
            lost += len(set(agent.sent) - set(seen))
            doubled += sum(times > 1 for mark, times in Counter(seen).items() if mark in set(agent.sent))
            wanted = [one for one in agent.sent if one in set(seen)]
            disorder += sum(a != b for a, b in zip(first, wanted, strict=True))
        return result | {
            "sent": sum(len(one.sent) for one in self.agents.values()),
            "lost": lost,
            "doubled": doubled,
            "out_of_order": disorder,
            "kills": self.kills,
            "restarts": self.restarts,
            "switches": self.switches,
            "held_and_settled": self.settled,
            "seconds": round(time.monotonic() - self.began),
            "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        }


def run(options: argparse.Namespace) -> int:
    """Run it; exit status 1 if something was lost, doubled, or out of order."""
    with contextlib.ExitStack() as stack:
        agents = {}
        for name in UIS:
            session = stack.enter_context(Session(ready_for_channels(name)))
            session.ready(300)
            agents[name] = Agent(session)
            agents[name].open.set()
        found = Week(agents, options).run()
    print(json.dumps(found, indent=1))
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    return int(bool(found["lost"] or found["doubled"] or found["out_of_order"]))
