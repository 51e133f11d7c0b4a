"""Who reads the terminal: told from argument vectors, by /proc and by ps alike."""

import os
import sys
from collections.abc import Sequence

import pytest

from tests.fakes.terminals import Terminal, private_terminal
from tests.world.waiting import until
from worker import process_table
from worker.terminal import processes
from worker.terminal.processes import Process, names_of
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.runner import LocalRunner, Result


@pytest.mark.parametrize(
    ("argv", "comm", "profile"),
    [
        (["node", "/usr/lib/node_modules/@openai/codex/bin/codex.js"], "node", "codex"),
        (["/opt/codex/codex", "--no-alt-screen"], "codex", "codex"),
        (["claude"], "claude", "claude"),
        (["node", "--no-warnings", "/usr/bin/claude"], "node", "claude"),
        (["node", "--max-old-space-size=4096", "/usr/local/bin/gemini"], "node", "gemini"),
        (["/x/python3.12", "/x/bin/aider", "--model", "m"], "aider", "aider"),
        (["python3", "-m", "IPython"], "python3", "ipython"),
        (["/v/bin/python", "-X", "dev", "/v/bin/ptpython"], "python", "ptpython"),
        (["bun", "run", "/x/opencode"], "bun", "opencode"),
    ],
)
def test_agents_are_known(argv: list[str], comm: str, profile: str) -> None:
    names, script = names_of(argv, comm)
    assert processes.match([Process(1, names, script, 0.0)], load(profile, [SHIPPED])) is not None


@pytest.mark.parametrize(
    "argv",
    [
        ["vim", "codex"],
        ["node", "-e", "codex"],
        ["python3", "-c", "x", "claude"],
        ["less", "/x/claude.js"],
        ["tail", "-f", "codex"],
    ],
)
def test_a_name_among_the_arguments_is_no_agent(argv: list[str]) -> None:
    names, script = names_of(argv, argv[0])
    for profile in ("codex", "claude"):
        assert processes.match([Process(1, names, script, 0.0)], load(profile, [SHIPPED])) is None


def _group(*argvs: Sequence[str]) -> list[Process]:
    return [Process(number, *names_of(argv, argv[0].lstrip("-")), 0.0) for number, argv in enumerate(argvs, 1)]


def test_shells_are_known_in_every_dress() -> None:
    for argv in (["-bash"], ["/bin/sh"], ["zsh", "-l"], ["fish"], ["bash", "-c", "read x"]):
        assert processes.only_shells(_group(argv)), argv
    assert not processes.only_shells(_group(["bash", "run.sh"], ["claude"]))
    assert not processes.only_shells([])


def test_carriers_are_named() -> None:
    assert "-H" in processes.carrier(_group(["ssh", "host"]))
    assert "tmux client" in processes.carrier(_group(["tmux", "attach"]))
    assert processes.carrier(_group(["claude"])) == ""


def test_proc_and_ps_agree() -> None:
    with private_terminal() as terminal:
        pane = terminal.session("it", sys.executable, "-c", "import time; time.sleep(60)")
        tty = terminal.tmux("display-message", "-p", "-t", pane, "#{pane_tty}").strip()
        runner = LocalRunner()
        until(lambda: len(processes._from_proc(tty)) == 1, "the program is in the foreground")
        (by_proc,), (by_ps,) = processes._from_proc(tty), processes._from_ps(runner, tty)
        assert by_proc.pid == by_ps.pid
        assert by_proc.names & by_ps.names
        assert abs(by_proc.age - by_ps.age) < 3


def test_the_foreground_changes_with_job_control() -> None:
    with private_terminal() as terminal:
        pane = _bash(terminal)
        tty = terminal.tmux("display-message", "-p", "-t", pane, "#{pane_tty}").strip()
        assert processes.only_shells(processes._from_proc(tty))
        terminal.tmux("send-keys", "-t", pane, "sleep 60", "Enter")
        until(lambda: [one.name for one in processes._from_proc(tty)] == ["sleep"], "sleep in front")
        terminal.tmux("send-keys", "-t", pane, "C-z")
        until(lambda: processes.only_shells(processes._from_proc(tty)), "the shell is back in front")


def test_only_the_panes_own_processes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with private_terminal() as terminal:
        pane = _bash(terminal)
        tty, pid = terminal.tmux("display-message", "-p", "-t", pane, "#{pane_tty} #{pane_pid}").split()
        # The reader is a thread's child of a shell's child, as an agent behind a wrapper is.
        inner = "import subprocess as s, threading as t; t.Thread(target=s.run, args=(['sleep', '60'],)).start()"
        terminal.tmux("send-keys", "-t", pane, f'{sys.executable} -c "{inner}"', "Enter")
        until(lambda: len(processes._from_proc(tty)) == 2, "both are in the foreground")
        everything = processes._from_proc(tty)
        monkeypatch.setattr(process_table, "pids", lambda: pytest.fail("the whole table is read"))
        found = processes.foreground(LocalRunner(), tty, int(pid))
        assert [(one.pid, one.names) for one in found] == [(one.pid, one.names) for one in everything]


def test_a_reader_that_does_not_descend_from_the_pane_is_found_too() -> None:
    with private_terminal() as terminal:
        pane = _bash(terminal)
        tty = terminal.tmux("display-message", "-p", "-t", pane, "#{pane_tty}").strip()
        terminal.tmux("send-keys", "-t", pane, "sleep 60", "Enter")
        until(lambda: [one.name for one in processes._from_proc(tty)] == ["sleep"], "sleep in front")
        assert [one.name for one in processes.foreground(LocalRunner(), tty, os.getpid())] == ["sleep"]
        assert [one.name for one in processes.foreground(LocalRunner(), tty, 2**30)] == ["sleep"]


def _bash(terminal: Terminal) -> str:
    pane = terminal.session("sh", "bash", "--norc")
    until(lambda: "$" in terminal.screen(pane) or "#" in terminal.screen(pane), "a prompt")
    return pane


@pytest.mark.parametrize(("etime", "seconds"), [("00:07", 7), ("01:02:03", 3723), ("2-00:00:01", 172801)])
def test_ages(etime: str, seconds: int) -> None:
    assert processes._seconds(etime) == seconds


class Mac:
    """A host without `/proc`, whose `ps` says this."""

    host = "mac"
    deadline = 0.0

    def __init__(self, named: bytes, listed: bytes) -> None:
        self._named, self._listed = named, listed

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 5.0) -> Result:
        return Result(0, self._named if "comm=" in argv else self._listed)

    def close(self) -> None:
        pass


def test_ps_in_the_manner_of_macos() -> None:
    mac = Mac(
        b"  501 -zsh\n  777 node\n",
        b"  501   501   777 Ss   01:00 -zsh\n  777   777   777 S+   00:09 node /opt/homebrew/bin/claude\n",
    )
    (only,) = processes.foreground(mac, "/dev/ttys003")
    assert (only.pid, only.age) == (777, 9.0)
    assert "claude" in only.names


def test_a_child_that_was_just_forked_is_not_taken_for_the_agent_though_pids_have_wrapped() -> None:
    """Continue 1.5.47, once: between paste and Enter "another program has come to the foreground"."""
    mac = Mac(
        b"  12 cn\n32000 cn\n",
        b"   12 32000 32000 S+   00:00 cn\n32000 32000 32000 S+   07:00 cn\n",
    )
    group = processes.foreground(mac, "/dev/ttys003")
    known = processes.match(group, load("cn", [SHIPPED]))
    assert known is not None
    assert known.pid == 32000


def test_a_terminal_that_is_not_there() -> None:
    assert processes._from_proc("/dev/nowhere") == []
