"""An answer goes by the message: to the bus, or back to the terminal that it came from; and never from a wrong pane."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.fakes.terminals import ROOT, Terminal, private_terminal
from tests.world.config import QUICK, Home
from worker.cli.main import main
from worker.terminal import arrival

HOST = os.uname().nodename.partition(".")[0]
NOW_MS = int(time.time() * 1000)
HINT = "(Only if the sender needs an answer: bus-watch reply {} 'TEXT')"


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with private_terminal() as made:
        yield made


class Here(Home):
    """A home whose commands run in this process."""

    def __init__(self, home: Path, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(home)
        self.bridge = bridge
        self.configure(self.agent(bridge, "bob", self.transport("t", reply_hint=True)), **QUICK)
        monkeypatch.setenv("BUS_WATCH_CONFIG", str(self.config))
        for name in ("TMUX", "TMUX_PANE", "CODEX_THREAD_ID", "SOS_AGENT", "SOS_MESSAGE_KEY"):
            monkeypatch.delenv(name, raising=False)

    def take_in(self, text: str, source: str = "agent:alice", **extra: Any) -> str:
        """A message comes, and is delivered; its id."""
        ms, seq = self.bridge.streams.add("bob", text, source=source, **extra)
        assert main(["run", "--once"]) == 0
        return f"{ms}-{seq}"

    def sent(self) -> list[tuple[str, str]]:
        """To whom, and what."""
        return [(body["to"], body["text"]) for body in (json.loads(one.body) for one in self.bridge.seen("/send"))]


@pytest.fixture
def here(tmp_path: Path, bridge_of: Callable[[Generation], FakeBridge], monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(tmp_path, bridge_of("C"), monkeypatch)


def test_by_its_key(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    message = here.take_in("is it green?")
    assert main(["reply", f"bob/{message}", "yes"]) == 0
    assert here.sent() == [("alice", "yes")]
    (row,) = here.rows("select answers, agent, recipient from outbox")
    assert tuple(row) == (f"bob/sos:stream:global:agent:bob/{message}", "bob", "alice")
    assert not here.bridge.seen("/peers"), "whoever has written is known"
    assert "sent out-1 to alice" in capsys.readouterr().out


def test_the_hint_is_the_command(here: Here) -> None:
    message = here.take_in("is it green?")
    text, hint = here.seen("t")
    assert text == "is it green?"
    program, *words = hint.removeprefix("(Only if the sender needs an answer: ").removesuffix(")").split()
    assert words == ["reply", "--config", str(here.config), f"bob/{message}", "'TEXT'"]
    assert program == "bus-watch" or os.access(program, os.X_OK)
    assert main([*words[:-1], "yes"]) == 0
    assert here.sent() == [("alice", "yes")]


@pytest.mark.parametrize("project", [None, "acme"])
def test_each_of_several_that_came_together_can_be_answered(here: Here, project: str | None) -> None:
    """Also where two streams have the same ids."""
    transport = here.transport("t", reply_hint=True, coalesce=60)
    bob = here.agent(here.bridge, "bob", transport) | ({"project": project} if project else {})
    here.configure(bob, **QUICK)
    for source, one in (("alice", None), ("carol", project), ("dave", None)):
        here.bridge.streams.add("bob", f"from {source}", source=f"agent:{source}", project=one, ms=NOW_MS)
    assert main(["run", "--once"]) == 0
    hints = [line for line in here.seen("t") if line.startswith("(Only")]
    assert len(hints) == 3
    for number, hint in enumerate(hints):
        words = hint.removeprefix("(Only if the sender needs an answer: ").removesuffix(" 'TEXT')").split()[1:]
        assert main([*words, f"answer {number}"]) == 0
    assert sorted(to for to, _ in here.sent()) == ["alice", "carol", "dave"]


@pytest.mark.parametrize(
    ("text", "source"),
    [("[alice -> bob class=terminal-log] for the record", "agent:alice"), ("from a script", "github")],
)
def test_no_hint_where_nobody_wants_an_answer(here: Here, text: str, source: str) -> None:
    here.take_in(text, source)
    assert "bus-watch reply" not in "".join(here.seen("t"))


def test_what_is_answered_must_be_told(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    message = here.take_in("is it green?")
    assert main(["reply", "yes"]) == 64
    said = capsys.readouterr().err
    assert "bus-watch reply KEY 'TEXT'" in said
    assert f"bob/{message}  from agent:alice" in said
    other = here.take_in("from a script", "github")
    assert main(["reply", f"bob/{other}", "yes"]) == 64
    assert "no agent on the bus" in capsys.readouterr().err
    assert main(["reply", f"bob/{message}", "yes", "--as", "alice"]) == 64
    assert main(["reply", "bob/1-1", "yes"]) == 1
    assert not here.sent()


def test_the_message_of_the_transport_that_answers(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    message = here.take_in("is it green?")
    monkeypatch.setenv("SOS_MESSAGE_KEY", f"bob/sos:stream:global:agent:bob/{message}")
    assert main(["reply", "yes"]) == 0
    assert here.sent() == [("alice", "yes")]


def in_pane(terminal: Terminal, pane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process is a command of the agent in that pane."""
    monkeypatch.setenv("TMUX", f"{terminal.socket},1,0")
    monkeypatch.setenv("TMUX_PANE", pane)


def test_the_last_message_of_the_own_pane(here: Here, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta = terminal.agent("alpha"), terminal.agent("beta")
    older, newer = here.take_in("older"), here.take_in("newer", "agent:carol")
    for agent, message, source in ((alpha, older, "agent:alice"), (beta, newer, "agent:carol")):
        key = f"bob/sos:stream:global:agent:bob/{message}"
        variables = {"SOS_MESSAGE_KEY": key, "SOS_MESSAGE_SOURCE": source, "SOS_AGENT": "bob"}
        done = terminal.run(
            "send_message", "-t", agent.name, "--agent", "standin", "--from-bus", text="go", **variables
        )
        assert done.returncode == 0, done.stderr
    in_pane(terminal, alpha.pane, monkeypatch)
    assert main(["reply", "to the older"]) == 0
    in_pane(terminal, beta.pane, monkeypatch)
    assert main(["reply", "to the newer"]) == 0
    assert here.sent() == [("alice", "to the older"), ("carol", "to the newer")]


def test_a_line_of_agent_send_goes_back_to_its_pane(
    here: Here, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = terminal.agent("alpha"), terminal.agent("beta")
    asked = ("-s", "beta", "-S", f"{HOST}:alpha", "-n", HOST, "--agent", "standin", "-m", "is it green?")
    assert terminal.run("agent_send", *asked).returncode == 0
    in_pane(terminal, beta.pane, monkeypatch)
    environment = {**os.environ, **terminal.environment}  # its home has the stand-in's profile
    environment |= {name: os.environ[name] for name in ("TMUX", "TMUX_PANE", "BUS_WATCH_CONFIG")}
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli.main", "reply", "yes"], env=environment, cwd=ROOT, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert alpha.submitted() == [f"[{HOST}:beta -> {HOST}:alpha] yes"]
    assert not here.sent()


@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize("tag", ["", " class=human"])
def test_agent_send_answers_a_line_of_the_bus_on_the_bus(here: Here, hint: bool, tag: str) -> None:
    message = here.take_in("is it green?")
    line = f"[agent:alice -> bob{tag}] is it green?"
    if hint:
        line += "\n" + HINT.format(f"--config {here.config} bob/{message}")
    done = subprocess.run(
        [sys.executable, "-m", "worker.terminal.agent_send", "--reply", line, "-m", "yes"],
        env={**os.environ}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert here.sent() == [("alice", "yes")]
    assert here.count("select answers is not null from outbox") == hint


def test_codexs_own_record_tells_which_message(here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = here.take_in("first"), here.take_in("second", "agent:carol")
    folder = tmp_path / "codex" / "sessions" / "2026" / "11" / "27"
    folder.mkdir(parents=True)
    thread = "0199-aaaa-bbbb-cccc"
    said = [
        ("user", f"[agent:alice -> bob] first\n{HINT.format('bob/' + first)}"),
        ("assistant", f"[agent:carol -> bob] I quote it\n{HINT.format('bob/' + second)}"),
    ]
    lines = [
        json.dumps({"payload": {"type": "message", "role": role, "content": [{"type": "t", "text": text}]}})
        for role, text in said
    ]
    (folder / f"rollout-2026-11-27T00-00-00-{thread}.jsonl").write_text("\n".join([*lines, "{broken"]))
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "codex"))
    monkeypatch.setenv("CODEX_THREAD_ID", thread)
    assert main(["reply", "to the first"]) == 0
    assert here.sent() == [("alice", "to the first")]


BELOW = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[2:]))"


def test_below_an_app_server_the_pane_is_not_believed(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "beta-project").mkdir()
    alpha = terminal.session("alpha", "sleep", "600")
    beta = terminal.tmux(
        "new-session", "-d", "-s", "beta", "-c", str(tmp_path / "beta-project"), "-P", "-F", "#{pane_id}", "--",
        "bash", "-c", "exec -a codex sleep 600",
    ).strip()  # fmt: skip
    environment = {
        **terminal.environment, "TMUX": f"{terminal.socket},1,0", "TMUX_PANE": alpha, "CODEX_THREAD_ID": "x" * 20,
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    ask = [sys.executable, "-c", "import os; from worker.terminal import arrival as a; print(a.own_pane(os.environ))"]
    plain = subprocess.run(ask, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert plain.stdout.strip() == alpha
    below = [sys.executable, "-c", BELOW, "app-server", *ask]
    elsewhere = subprocess.run(below, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == "", "nobody's, rather than alpha's"
    # tmux names the program of the pane as the kernel does, so the stand-in for codex must be called so.
    named = terminal.tmux("display-message", "-p", "-t", beta, "#{pane_current_command}").strip()
    at_home = subprocess.run(
        below, env=environment, cwd=tmp_path / "beta-project", capture_output=True, text=True, check=True
    )
    assert at_home.stdout.strip() == (beta if named in {"codex", "node"} else "")


def test_a_line_is_read_as_it_was_delivered() -> None:
    read = arrival.read("[agent:alice -> bob] hi\n" + HINT.format("--config /x/y.json bob/1795300087770-0"))
    assert read == ("bob/1795300087770-0", "[agent:alice -> bob] ")
    assert arrival.read("[vm:alpha -> vm:beta class=human] hi") == ("", "[vm:alpha -> vm:beta] ")
    assert arrival.read("no line of ours") is None
