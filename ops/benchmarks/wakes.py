"""From /send to Enter in a terminal, through bus, worker, launcher and sender, in turn with the bare recipe.

The pane runs the tests' stand-in, slowed down to Claude Code's timings, and its log is the clock. BENCH_BEFORE=FOLDER
names a checkout of an older commit (`git worktree add FOLDER 86a16c8`): its worker then takes turns in the same run.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ops.benchmarks.table import Row, in_turn, median_row, percentile
from ops.latency_measure import ROOT, Bed, cpu_seconds
from tests.fakes.terminals import Agent, Terminal, private_terminal
from tests.world.waiting import until

LAG = 0.02  # seconds from a paste until Claude Code 2.1 shows it, and from Enter until its record is written, at least
PANES = 20
WARM_UPS = 3
# What everybody does by hand: no look, no proof, and 0.3 s of hope.
BARE = r"""
set -eu
tmux="tmux -u -S $1"
printf '%s' "$3" | $tmux load-buffer -b bare -
$tmux paste-buffer -d -p -b bare -t "$2"
sleep 0.3
$tmux send-keys -t "$2" Enter
"""


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    rounds = 2 if quick else int(os.environ.get("BENCH_ROUNDS", "40"))
    with contextlib.ExitStack() as stack:
        warm_ups = 1 if quick else WARM_UPS
        ours = stack.enter_context(_wakes(ROOT, warm_ups))
        bare = stack.enter_context(_pane("bare"))
        variants: list[Callable[[], float]] = [ours.wake, lambda: _bare(*bare)]
        before = os.environ.get("BENCH_BEFORE", "")
        if before:
            old = stack.enter_context(_wakes(Path(before).resolve(), warm_ups))
            variants.append(old.wake)
        found = in_turn(rounds, *variants)
        rows = [
            *_times("a wake: from /send to Enter", found[0]),
            *_times("the bare recipe: load-buffer, paste-buffer -p, 0.3 s, Enter", found[1]),
            Row("wakes", "a wake : the bare recipe, p50", _p50(found[0]) / _p50(found[1]), "", "<= 1"),
            Row("wakes", "CPU a wake: launcher and all that it started", 1000 * ours.cpu() / len(found[0]), "ms"),
        ]
        if before:
            rows += [
                *_times("before: from /send to Enter", found[2]),
                Row("wakes", "a wake : before, p50", _p50(found[0]) / _p50(found[2]), "", "<= 0.3"),
                Row("wakes", "CPU a wake before", 1000 * old.cpu() / len(found[2]), "ms"),
            ]
    with _wakes(ROOT, warm_ups, panes=2 if quick else PANES) as crowd:
        several = [crowd.wake() for _ in range(1 if quick else 5)]
    name = f"{2 if quick else PANES} panes woken by one message: to the last Enter"
    return [*rows, median_row("wakes", name, [1000 * one for one in several], "ms")]


def _times(what: str, seconds: Sequence[float]) -> list[Row]:
    ms = [1000 * one for one in seconds]
    return [median_row("wakes", f"{what}, p50", ms, "ms"), Row("wakes", f"{what}, p95", percentile(ms, 95), "ms")]


def _p50(seconds: Sequence[float]) -> float:
    return percentile(seconds, 50)


class _Wakes:
    """A worker whose transports wake panes."""

    def __init__(self, terminal: Terminal, agents: Sequence[Agent], bed: Bed, warm_ups: int) -> None:
        self._terminal, self._agents, self._bed = terminal, agents, bed
        self._numbers = iter(range(1_000_000))
        for _ in range(warm_ups):  # the first send of a worker starts in the plain way, and what is warm is made then
            self.wake()
            time.sleep(1.0)
        self._cpu = self._spent()

    def wake(self) -> float:
        """Send one message; seconds until the last pane has got its Enter."""
        words = f"message {next(self._numbers)}"
        time.sleep(0.7)  # so that the token's budget is never what is measured, and the agent is idle
        sent = self._bed.send(words)
        return max(_entered(agent, words) for agent in self._agents) - sent

    def cpu(self) -> float:
        """Seconds of CPU since the start."""
        return self._spent() - self._cpu

    def _spent(self) -> float:
        time.sleep(1.0)  # for what is still being proven
        worker, *launchers = cpu_seconds(self._bed.worker.pid).values()
        del worker  # its polls go on between the wakes
        return sum(launchers)


def _entered(agent: Agent, words: str) -> float:
    def at() -> float:
        return next((one for text, one in agent.times("submit") if text.endswith(words)), 0.0)

    return until(at, f"{words} in {agent.name}")


def _bare(terminal: Terminal, agent: Agent) -> float:
    time.sleep(0.7)
    words = f"message {time.monotonic_ns()}"
    began = time.time()
    argv = ["/bin/sh", "-c", BARE, "sh", terminal.socket, agent.pane, words]
    subprocess.run(argv, env=terminal.environment, check=True)
    return _entered(agent, words) - began


@contextlib.contextmanager
def _pane(name: str) -> Iterator[tuple[Terminal, Agent]]:
    with private_terminal() as terminal:
        agent = terminal.agent(name)
        agent.tell(f"lag {LAG}")
        yield terminal, agent


@contextlib.contextmanager
def _wakes(checkout: Path, warm_ups: int, panes: int = 1) -> Iterator[_Wakes]:
    """A worker from that checkout, with one transport a pane."""
    with private_terminal() as terminal, tempfile.TemporaryDirectory(prefix="bus-watch-wakes-") as home:
        agents = [terminal.agent(f"pane{number}") for number in range(panes)]
        for agent in agents:
            agent.tell(f"lag {LAG}")
        profiles = Path(home) / ".config/bus-watch/profiles"
        profiles.mkdir(parents=True)
        (profiles / "standin.toml").write_text(_profile(checkout))
        sender = str(Path(sys.executable).parent / "send-message")
        transports: list[dict[str, Any]] = [
            {
                "name": agent.name,
                "command": [sender, "--from-bus", "--socket-path", terminal.socket, "-t", agent.name],
                "stdin": True,
                "env": {"PYTHONPATH": str(checkout), "PATH": terminal.environment["PATH"]},
            }
            for agent in agents
        ]
        bed = Bed(Path(home), "C", transports=transports, checkout=checkout)
        try:
            yield _Wakes(terminal, agents, bed, warm_ups)
        finally:
            bed.close()
            shutil.rmtree(profiles, ignore_errors=True)


def _profile(checkout: Path) -> str:
    """That checkout's profile of the stand-in, with the waits of its Claude Code; the agent is not young."""
    text = (checkout / "tests/fakes/standin.toml").read_text()
    claude = tomllib.loads((checkout / "worker/terminal/profiles/claude.toml").read_text())["typing"]
    waits = {key: claude[key] for key in ("pause", "still") if key in claude} | {"young": 0.0}
    kept = [one for one in text.split("\n") if one.partition(" ")[0] not in {"pause", "still", "young"}]
    return "\n".join(kept).replace("[typing]", "\n".join(["[typing]", *(f"{key} = {waits[key]}" for key in waits)]))
