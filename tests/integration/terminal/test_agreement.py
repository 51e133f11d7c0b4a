"""Verdicts agree with the truth, whatever state the agent is in and whatever a person types meanwhile."""

import os
import random
import threading
import time

from tests.fakes.terminals import Agent, Terminal

ROUNDS = int(os.environ.get("TERMINAL_ROUNDS", "5"))  # the long form: TERMINAL_ROUNDS=500
STATES = [
    ("idle",),
    ("idle", "swallow 1"),
    ("idle", "slow 0.3"),
    ("busy",),
    ("busy", "swallow 1"),
    ("draft somebody's",),
    ("dialog",),
    ("idle", "dialog-on-paste"),
]
TEXTS = [
    "short {}",
    "two\nlines {}",
    "{} " + "long " * 300,
    "many {}" + "\nline" * 12,
    "/slash {}",
    "[x -> y] {}",
    "tab\t{}",
]


def _person(agent: Agent, chance: random.Random, stop: threading.Event) -> None:
    """Types a word at some moment."""
    if not stop.wait(chance.uniform(0.0, 0.8)):
        agent.terminal.tmux("send-keys", "-t", agent.pane, "-l", "oops")


def test_verdicts_agree_with_the_log(terminal: Terminal) -> None:
    seed = int(os.environ.get("TERMINAL_SEED", str(time.time_ns())))
    chance = random.Random(seed)
    unsure = 0
    for number in range(ROUNDS):
        agent = terminal.agent(f"a{number}", record=chance.random() < 0.5)
        state = STATES[number % len(STATES)] if number < len(STATES) else chance.choice(STATES)
        agent.tell(*state)
        text = chance.choice(TEXTS).format(number).rstrip()
        stop = threading.Event()
        person = threading.Thread(target=_person, args=(agent, chance, stop))
        if typing := chance.random() < 0.4:
            person.start()
        outcome = terminal.submit(agent.name, text, timeout=4)
        stop.set()
        if typing:
            person.join()
        story = (seed, number, state, typing, text[:30], outcome, agent.events("submit", "queue", "approve", "stray"))
        got = [one for _, one in agent.events("submit", "queue")]
        ours = [one for one in got if text in one]
        assert not agent.events("approve"), story
        assert not [one for _, one in agent.events("stray") if one == "\r"], story
        if outcome.verdict in {"submitted", "queued"}:
            assert [one.strip().removeprefix("> ") for one in ours] == [text], story
        elif outcome.verdict == "unproven":
            unsure += 1
            assert "this program failed" not in outcome.reason, story
            assert len(ours) <= 1, story
        else:
            assert not ours, story
        agent.terminal.tmux("kill-session", "-t", f"={agent.name}")
    print(f"{ROUNDS} rounds, {unsure} unproven, seed {seed}")
