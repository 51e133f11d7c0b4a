"""A week's worth of work at once: bus, worker and three real agents, of which now and then each is killed or restarted.

Nothing may be lost or doubled, and each agent must get its messages in the order in which they were sent, whichever way
each went. What is held (nobody knows whether it arrived) is settled as its owner would, by a look at the agent.

It ends at its limit, at SIGTERM or Ctrl-C with what it has by then, as a part: with `--resume` and the same `--out` the
next run does what is left, with agents of its own, and adds the parts up.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.trial.cases import marker
from ops.trial.native.stack import Stack, Transports
from ops.trial.native.trial import mark_of, ready_for_channels
from ops.trial.sessions import Session

UIS = ("codex", "claude", "opencode")
WHOLE, PART = "a week's worth", "a part of a week"
AHEAD = 6  # messages of one agent that may be on their way at once
SETTLES = 300.0  # seconds after the last one was sent for all to arrive
LIMIT = 5400.0
LOOKS = 20.0  # seconds for which a held message may still turn up before its owner lets it run again
COUNTED = ("sent", "lost", "doubled", "out_of_order", "kills", "restarts", "switches", "held_and_settled", "seconds")


@dataclass
class Agent:
    """One agent of the week."""

    session: Session
    via: str = "auto"
    sent: list[str] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    """When it was ended: what it was told before and after are two conversations."""
    open: bool = True
    """Whether messages are sent to it; only changed and relied on with `sending`."""
    sending: threading.Lock = field(default_factory=threading.Lock)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _read: int = 0
    _life: int = 0
    _have: Counter[str] = field(default_factory=Counter)
    _seen: list[str] = field(default_factory=list)

    def seen(self) -> list[str]:
        """The markers in the order in which its model met them, each as often as a conversation has it."""
        with self._guard:
            self.session.truth.refresh()
            asked = self.session.truth.main()
            for one in asked[self._read :]:
                life = sum(end <= one["at"] for end in self.ends)
                if life != self._life:
                    self._life, self._have = life, Counter()
                new = Counter(one["markers"]) - self._have
                self._seen += [mark for mark in dict.fromkeys(one["markers"]) for _ in range(new[mark])]
                self._have |= Counter(one["markers"])
            self._read = len(asked)
            return list(self._seen)

    def misplaced(self) -> list[str]:
        """What was sent and has arrived, but in another's place."""
        sent = set(self.sent)
        first = [one for one in dict.fromkeys(self.seen()) if one in sent]
        there = set(first)
        return [b for a, b in zip(first, [one for one in self.sent if one in there], strict=True) if a != b]

    def missing(self) -> list[str]:
        """What was sent and has not arrived."""
        there = set(self.seen())
        return [one for one in list(self.sent) if one not in there]


class Week:
    """One run of `messages` and `kills`, for `limit` seconds at most."""

    def __init__(self, agents: dict[str, Agent], messages: int, kills: int, limit: float) -> None:
        self.agents, self._messages, self._most_kills, self._limit = agents, messages, kills, limit
        self.began = time.monotonic()
        self.kills = self.settled = self.switches = self.restarts = 0
        self.cut = threading.Event()
        """It is to end before its time."""
        self._over = threading.Event()
        self._held: dict[str, float] = {}
        self.stack = Stack(self._transports())

    def run(self) -> dict[str, Any]:
        """Send all of it, with what goes wrong meanwhile; the result."""
        senders = [threading.Thread(target=self._send, args=(name,), daemon=True) for name in self.agents]
        jobs = [threading.Thread(target=job, daemon=True) for job in (self._kill, self._restart, self._switch)]
        with self.stack:
            for job in (*senders, *jobs):
                job.start()
            while any(job.is_alive() for job in senders):
                self._pass_time(10.0)
            end = time.monotonic() + SETTLES
            while time.monotonic() < end and any(one.missing() for one in self.agents.values()):
                self._pass_time(5.0)
            self._over.set()
            for job in jobs:
                job.join(90)
            time.sleep(5.0)
            ways, reasons = self._ways(), self._reasons()
            self._explain()
        return self._result(ways) | {"reasons": reasons}

    def _transports(self) -> Transports:
        """As the agents' channels are switched now."""
        found = {}
        for name, agent in self.agents.items():
            found[name] = ["-L", agent.session.server.name, "-t", agent.session.name, "--via", agent.via]
            found[name] += ["--authority", "peer"]
        return found

    def _progress(self) -> float:
        """The share of the messages that were sent."""
        return sum(len(one.sent) for one in self.agents.values()) / float(self._messages)

    def _late(self) -> bool:
        return self.cut.is_set() or self._over.is_set() or time.monotonic() - self.began > self._limit

    def _pass_time(self, seconds: float) -> None:
        """What an owner and a service manager do now and then; says how far it is."""
        self._over.wait(seconds)
        with contextlib.suppress(subprocess.SubprocessError, ValueError):  # a loaded machine: the next time, then
            self.stack.look_after()
            self._settle()
        there = {name: f"{len(set(one.seen()))} of {len(one.sent)}" for name, one in self.agents.items()}
        told = f"{self.kills} kills, {self.restarts} restarts, {self.switches} switches, {self.settled} settled"
        print(
            f"{time.monotonic() - self.began:5.0f} s, {self._progress():4.0%} of {self._messages} sent, {told},"
            f" load {os.getloadavg()[0]:.0f}; arrived: {there}",
            file=sys.stderr,
            flush=True,
        )

    def _send(self, name: str) -> None:
        agent = self.agents[name]
        number, count = 0, self._share(name)
        while number < count and not self._late():
            text = f"{random.choice(('note', 'note', 'note', 'slow1'))} {number} {marker()}"
            with agent.sending:
                free = agent.open and len(agent.missing()) < AHEAD
                if free and self._accepted(name, text):
                    agent.sent.append(mark_of(text))
                    number += 1
            time.sleep(random.uniform(0.0, 1.2) if free else 0.3)

    def _accepted(self, name: str, text: str) -> bool:
        try:
            self.stack.send(name, text)
        except OSError as why:  # a text that nobody counts is sent anew under another marker
            print(f"the bus did not take one: {why}", file=sys.stderr)
            return False
        return True

    def _share(self, name: str) -> int:
        place = list(self.agents).index(name)
        return (self._messages + place) // len(self.agents)

    def _kill(self) -> None:
        while self.kills < self._most_kills and not self._late():
            if self._progress() * self._most_kills <= self.kills:
                self._over.wait(0.2)
                continue
            self._over.wait(random.uniform(0.2, 1.5))
            self.stack.kill()
            self.kills += 1

    def _restart(self) -> None:
        order = [name for _ in range(2) for name in self.agents]
        for number, name in enumerate(order):
            while self._progress() < (number + 1) / (len(order) + 1):
                if self._late():
                    return
                self._over.wait(0.3)
            if self._over.is_set():
                return
            agent = self.agents[name]
            with agent.sending:
                agent.open = False  # what it has in its own queue when it is ended is lost with it
            while agent.missing():
                if self._late():
                    return
                self._over.wait(0.5)
            time.sleep(3.0)  # the answer to the last one
            agent.session.stop()
            agent.ends.append(time.time())
            agent.open = True  # from here on messages come for somebody who is not there
            time.sleep(2.0)
            for _ in range(3):
                try:
                    agent.session.start()
                    agent.session.ready(120)
                    break
                except (SystemExit, subprocess.SubprocessError) as why:  # it is slow: what matters is whether it runs
                    print(f"{name} was started again, and: {why}", file=sys.stderr)
                    if agent.session.runs:
                        break
                    agent.session.stop()
            self.restarts += 1

    def _switch(self) -> None:
        """Each agent's channels off, then on again, in turn."""
        share = 0.0
        turns = itertools.cycle(self.agents.values())
        while share < 1:
            share += 0.08
            while self._progress() < share:
                if self._late():
                    return
                self._over.wait(0.3)
            agent = next(turns)
            agent.via = "type" if agent.via == "auto" else "auto"
            with contextlib.suppress(subprocess.SubprocessError):  # a worker that starts reads it, too
                self.stack.configure(self._transports())
                self.stack.words("reload")
            self.switches += 1

    def _settle(self) -> None:
        """Look at what nobody knows or has given up, and drop it if it arrived, else let it run again."""
        for one in self.stack.json("queue", "-n", "1000").get("deliveries", []):
            if one["state"] not in {"held", "dead"}:
                continue
            agent = self.agents[one["agent"]]
            text = str(self.stack.json("show", one["key"])["text"])
            there = mark_of(text) in agent.seen()
            if not there and time.monotonic() - self._held.setdefault(one["key"], time.monotonic()) < LOOKS:
                continue
            self._held.pop(one["key"], None)
            self.stack.words("drop" if there else "retry", one["key"])
            self.settled += 1

    def _ways(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for name in self.agents:
            rows = self.stack.json("history", "--agent", name, "-n", str(2 * self._messages))
            ways = [one["ways"].get("wake", {}).get("channel") or one["deliveries"].get("wake") for one in rows]
            found[name] = dict(Counter(str(one) for one in ways))
        return found

    def _reasons(self) -> dict[str, dict[str, int]]:
        """Why attempts did not go by an agent's channel, and how often."""
        return {name: dict(Counter(_passed(self.stack.printed(name)))) for name in self.agents}

    def _explain(self) -> None:
        """The whole story of each message that was lost, doubled or out of order."""
        for name, agent in self.agents.items():
            times, misplaced = Counter(agent.seen()), agent.misplaced()
            wrong = {one for one in agent.sent if times[one] != 1} | set(misplaced)
            if not wrong:
                continue
            if misplaced:
                print(f"! {name}: out of order", [one for one in agent.seen() if one in misplaced], "sent", misplaced)
            for row in self.stack.json("history", "--agent", name, "-n", str(2 * self._messages)):
                text = str(self.stack.json("show", row["key"])["text"])
                if mark_of(text) in wrong:
                    print(f"! {name}: {times[mark_of(text)]} times\n", self.stack.words("show", row["key"]))

    def _result(self, ways: dict[str, dict[str, int]]) -> dict[str, Any]:
        result: dict[str, Any] = {"case": PART, "ui": ", ".join(self.agents), "by": ways}
        lost, doubled, disorder = 0, 0, 0
        for agent in self.agents.values():
            seen = agent.seen()
            lost += len(set(agent.sent) - set(seen))
            doubled += sum(times > 1 for mark, times in Counter(seen).items() if mark in set(agent.sent))
            disorder += len(agent.misplaced())
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
            "load": round(os.getloadavg()[0]),
        }


def run(options: argparse.Namespace) -> int:
    """Run it; exit status 1 if something was lost, doubled, or out of order, 2 if it is not whole."""
    parts = _parts(options.out) if options.resume and options.out else []
    messages = options.messages - sum(one["sent"] for one in parts)
    kills = max(0, options.kills - sum(one["kills"] for one in parts))
    with contextlib.ExitStack() as stack:
        agents = {}
        for name in UIS:
            session = stack.enter_context(Session(ready_for_channels(name)))
            session.ready(300)
            agents[name] = Agent(session)
        week = Week(agents, messages, kills, options.limit or LIMIT)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: week.cut.set())
        parts.append(week.run())
    whole = sum(one["sent"] for one in parts) >= options.messages
    found = (parts[-1] | _sum(parts) if whole else parts[-1]) | {"case": WHOLE if whole else PART}
    print(json.dumps(found, indent=1))
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
    wrong = any(one[what] for one in parts for what in ("lost", "doubled", "out_of_order"))
    return 1 if wrong else 0 if whole else 2


def _passed(printed: list[str]) -> list[str]:
    """The reasons in what attempts have printed."""
    found = [one for text in printed for one in re.findall(r" \(not ([^\n]+)\)(?:$|; )", text, re.MULTILINE)]
    return [re.sub(r"/\S+", "PATH", reason)[:150] for one in found for reason in one.split("; not ")]


def _parts(path: Path) -> list[dict[str, Any]]:
    """The parts that stand behind the last whole week in a file of results."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    weeks = [one for one in rows if one["case"] in {WHOLE, PART}]
    last = max((number for number, one in enumerate(weeks) if one["case"] == WHOLE), default=-1)
    return weeks[last + 1 :]


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    added: dict[str, Any] = {what: sum(one[what] for one in parts) for what in COUNTED}
    for what in ("by", "reasons"):
        counted: dict[str, Counter[str]] = {}
        for part in parts:
            for name, found in part.get(what, {}).items():
                counted.setdefault(name, Counter()).update(found)
        added[what] = {name: dict(found) for name, found in counted.items()}
    return added | {"parts": len(parts)}
