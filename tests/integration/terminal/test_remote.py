"""The same over a real sshd: one state machine, one lock on the pane's host, text on standard input only."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.terminals import ROOT, Sshd, Terminal
from tests.world.waiting import until
from worker.errors import UsageError
from worker.terminal.runner import HostError, SshRunner, ssh_argv
from worker.terminal.tmux import PaneLock, Server


@pytest.fixture
def far(sshd: Sshd) -> dict[str, str]:
    return {"AGENT_SEND_SSH_CONFIG": str(sshd.config)}


@pytest.mark.parametrize(
    "text",
    ["hello", "one\ntwo\tü 漢字\n\nfour", "y" * 8192, "'; touch x; echo '$(id)`id`\nexit 1\n"],
    ids=["short", "lines", "8k", "shell"],
)
def test_the_short_set(terminal: Terminal, far: dict[str, str], text: str) -> None:
    agent = terminal.agent("a")
    done = terminal.run("send_message", "-H", "far", "-t", "a", "-v", text=text, **far)
    assert done.returncode == 0, done
    assert re.search(r"^submitted %\d+ on far \(standin\): .* \[screen\]$", done.stdout)
    assert agent.submitted() == [text.rstrip("\n")]


def test_a_nested_tmux(terminal: Terminal, far: dict[str, str]) -> None:
    """The session is shown inside another tmux's pane: it is addressed on its own host, not through that pane."""
    agent = terminal.agent("inner")
    viewer = terminal.session("outer", "env", "-u", "TMUX", "tmux", "-S", terminal.socket, "attach", "-t", "inner")
    until(lambda: "shortcuts" in terminal.screen(viewer), "the inner session shows in the outer pane")
    assert terminal.run("send_message", "-H", "far", "-t", "inner", "-m", "one\ntwo", **far).returncode == 0
    done = terminal.run("send_message", "-H", "far", "-t", "outer", "-m", "three", **far)
    assert done.returncode == 69
    assert "tmux client" in done.stderr
    # Typed through the viewer on the caller's word, the screen is judged all the same.
    done = terminal.run("send_message", "-t", "outer", "--agent", "standin", "-m", "four", **far)
    assert done.returncode == 0, done
    assert agent.submitted() == ["one\ntwo", "four"]


def test_refusals_are_the_same(terminal: Terminal, far: dict[str, str]) -> None:
    agent = terminal.agent("a")
    agent.tell("draft mine")
    terminal.session("sh", "bash", "--norc")
    for target, status in (("a", 75), ("sh", 69), ("none", 69)):
        assert terminal.run("send_message", "-H", "far", "-t", target, "-m", "x", **far).returncode == status, target
    assert agent.submitted() == []


def test_no_lock_stays_when_the_connection_is_cut(terminal: Terminal, sshd: Sshd, far: dict[str, str]) -> None:
    """Cut while it waits: nothing was typed, and the next sender gets in at once."""
    agent = terminal.agent("a")
    agent.tell("busy")
    sender = _start(terminal, far, "-H", "far", "-t", "a", "--when-idle", "--timeout", "60", "-v", "-m", "first")
    assert sender.stderr is not None
    while b"busy" not in sender.stderr.readline():
        pass
    deferred = terminal.submit("a", "second", timeout=2)
    assert deferred.reason == "another sender is typing into this pane"
    sshd.cut()
    assert sender.wait(30) == 69
    sender.stderr.close()
    began = time.monotonic()
    assert terminal.submit("a", "third").verdict == "queued"
    assert time.monotonic() - began < 5
    assert agent.events("submit", "queue") == [("queue", "third")]


@pytest.mark.parametrize("step", [b"pasted", b"input box (", b"pressed"])
def test_cut_in_the_middle_is_an_honest_verdict(
    terminal: Terminal, sshd: Sshd, far: dict[str, str], step: bytes
) -> None:
    agent = terminal.agent("a")
    agent.tell("swallow 1")  # so that there is a middle after Enter, too
    sender = _start(terminal, far, "-H", "far", "-t", "a", "-v", "-m", "cut me")
    assert sender.stderr is not None
    while step not in (line := sender.stderr.readline()):
        assert line, "it ended before that step"
    sshd.cut()
    status = sender.wait(30)
    sender.stderr.close()
    assert status in {0, 76}
    assert len(agent.submitted()) <= 1
    assert status == 76 or agent.submitted() == ["cut me"]


def test_killing_the_sender_frees_the_lock(terminal: Terminal, far: dict[str, str]) -> None:
    agent = terminal.agent("a")
    agent.tell("busy")
    sender = _start(terminal, far, "-H", "far", "-t", "a", "--when-idle", "--timeout", "60", "-v", "-m", "first")
    assert sender.stderr is not None
    while b"busy" not in sender.stderr.readline():
        pass
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    sender.stderr.close()
    agent.tell("idle")
    assert terminal.submit("a", "second").verdict == "submitted"
    assert agent.submitted() == ["second"]


def test_local_and_remote_senders_exclude_each_other(terminal: Terminal, far: dict[str, str]) -> None:
    agent = terminal.agent("a")
    texts = [f"message {number}\nand more" for number in range(8)]
    senders = [
        _start(terminal, far, *(["-H", "far"] if number % 2 else []), "-t", "a", "--timeout", "60", "-m", text)
        for number, text in enumerate(texts)
    ]
    for one in senders:
        _, said = one.communicate(timeout=90)
        assert one.returncode == 0, said
    assert sorted(agent.submitted()) == sorted(texts)


def test_several_hosts_give_the_worst_status(terminal: Terminal, far: dict[str, str]) -> None:
    agent = terminal.agent("a")
    done = terminal.run("agent_send", "-H", "far", "-H", "nowhere.invalid", "-s", "a", "-m", "hello", "--json", **far)
    assert done.returncode == 69
    assert [line.split('"')[3] for line in done.stdout.splitlines()] == ["submitted", "gone"]
    assert len(agent.submitted()) == 1


def test_the_preamble_names_the_far_host(terminal: Terminal, far: dict[str, str]) -> None:
    agent = terminal.agent("a")
    host = os.uname().nodename.partition(".")[0]
    assert terminal.run("agent_send", "-H", "far", "-s", "a", "-S", "me:here", "-m", "hi", **far).returncode == 0
    assert agent.submitted() == [f"[me:here -> {host}:a] hi"]


def test_a_missing_tmux_there_is_said(terminal: Terminal, far: dict[str, str]) -> None:
    done = terminal.run("send_message", "-H", "far", "-t", "a", "-m", "x", "--remote-tmux", "/nowhere/tmux", **far)
    assert done.returncode == 69
    assert "--remote-tmux" in done.stderr
    program = subprocess.run(["which", "tmux"], capture_output=True, text=True, check=True).stdout.strip()
    terminal.agent("a")
    done = terminal.run("send_message", "-H", "far", "-t", "a", "-m", "x", "--remote-tmux", program, **far)
    assert done.returncode == 0, done


def test_leftover_text_never_becomes_a_command(terminal: Terminal, sshd: Sshd, tmp_path: Path) -> None:
    """A command that does not read its input, and one that is not there: what is left over is not run."""
    runner = SshRunner("far", config=str(sshd.config))
    trap = tmp_path / "trap"
    text = f"\ntouch {trap}\n".encode() * 3000
    try:
        assert runner.run(["true"], text).status == 0
        assert runner.run(["/nowhere/tmux"], text).status == 127
        assert runner.run(["cat"], b"a\0b\n").output == b"a\0b\n"
        assert runner.run(["printf", "%s", "$(id) 'x'"]).output == b"$(id) 'x'"
    finally:
        runner.close()
    assert not trap.exists()


def test_text_is_on_no_command_line(terminal: Terminal, sshd: Sshd) -> None:
    """Neither ssh's nor the far shell's: it would show in `ps` there."""
    runner = SshRunner("far", config=str(sshd.config))
    tmux = terminal.home / "tmux-seen"
    listed = terminal.home / "listed"
    tmux.write_text(f'#!/bin/sh\nps -eww -o args= >>{listed}\nexec tmux "$@"\n')
    tmux.chmod(0o755)
    server = Server(runner, program=str(tmux), socket_path=terminal.socket)
    terminal.agent("a")
    try:
        lock = PaneLock(server, server.candidates("a")[0])
        assert lock.acquire(10)
        assert lock.paste(b"a secret text", "", "")
        lock.release()
    finally:
        runner.close()
    assert "load-buffer" in listed.read_text()
    assert "a secret text" not in listed.read_text()


def test_no_answer_is_an_error_in_time(sshd: Sshd) -> None:
    runner = SshRunner("far", config=str(sshd.config))
    began = time.monotonic()
    with pytest.raises(HostError, match="in time"):
        runner.run(["sleep", "30"], timeout=0.5)
    assert time.monotonic() - began < 5
    with pytest.raises(HostError):
        runner.run(["true"])


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=id", "a b", "", "a;b", "a@-b", "-a@b", "a@b@c", "$(id)", "a\nb", "h%h", "[::1", "x" * 300]
)
def test_bad_destinations_never_reach_ssh(host: str) -> None:
    with pytest.raises(UsageError):
        ssh_argv(host, "word")
    done = subprocess.run(
        [sys.executable, "-m", "worker.terminal.send_message", f"--host={host}", "-t", "x", "-m", "y"],
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 64


@pytest.mark.parametrize("host", ["web1", "hadi@web1", "a.b-c_d", "[::1]", "u@10.0.0.1"])
def test_good_destinations(host: str) -> None:
    argv = ssh_argv(host, "word", "/c")
    assert argv[argv.index("--") + 1] == host
    assert argv[1:3] == ["-F", "/c"]


def _start(terminal: Terminal, far: dict[str, str], *argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.terminal.send_message", "--socket-path", terminal.socket, *argv],
        env={**terminal.environment, **far},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
