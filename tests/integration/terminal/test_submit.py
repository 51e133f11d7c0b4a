"""Into a real pane: submitted once and whole, or not typed at all. The stand-in agent's log is the truth."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest

from tests.fakes.standin import PROMPT
from tests.fakes.terminals import ROOT, Terminal
from tests.world.waiting import until
from worker import process_table
from worker.terminal.runner import LocalRunner, Result
from worker.terminal.submit import Options, TextError, checked, submit
from worker.terminal.text import sanitise
from worker.terminal.tmux import Server

LONG = int(os.environ.get("TERMINAL_RUNS", "5"))  # the long form: TERMINAL_RUNS=100


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "one\ntwo\n\nthree\tfour\nfive",
        "ü ∑ 漢字 🙂",
        "x" * 8192,
        "word " * 1600,
        "-t %1; kill-server",
        "$(id) `id` 'q' \"q\"",
    ],
    ids=["short", "lines", "unicode", "8k", "8k words", "looks like options", "shell characters"],
)
def test_one_submission_whole_and_proven(terminal: Terminal, text: str) -> None:
    agent = terminal.agent("a")
    outcome = terminal.submit("a", text)
    assert (outcome.verdict, outcome.agent, outcome.pane) == ("submitted", "standin", agent.pane), outcome
    assert outcome.proof.startswith("record ")
    assert agent.submitted() == [text]


def test_the_screen_proves_it_where_there_is_no_record(terminal: Terminal) -> None:
    agent = terminal.agent("a", record=False)
    outcome = terminal.submit("a", "hello there\nsecond line")
    assert (outcome.verdict, outcome.proof) == ("submitted", "screen"), outcome
    assert agent.submitted() == ["hello there\nsecond line"]


def test_same_text_again_is_proven_again(terminal: Terminal) -> None:
    agent = terminal.agent("a", record=False)
    assert [terminal.submit("a", "again").verdict for _ in range(2)] == ["submitted"] * 2
    assert agent.submitted() == ["again"] * 2


@pytest.mark.parametrize("record", [True, False])
def test_queued_while_busy(terminal: Terminal, record: bool) -> None:
    agent = terminal.agent("a", record=record)
    agent.tell("busy")
    outcome = terminal.submit("a", "for later")
    assert outcome.verdict == "queued", outcome
    assert agent.events("queue", "submit") == [("queue", "for later")]


def test_when_idle_defers_while_busy(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("busy")
    outcome = terminal.submit("a", "not now", when_idle=True, timeout=3)
    assert (outcome.verdict, outcome.exit_status) == ("deferred", 75)
    agent.tell("idle")
    assert agent.events("queue", "submit") == []


def test_a_persons_draft_survives(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("draft rm -rf important")
    for _ in range(LONG):
        outcome = terminal.submit("a", "hello")
        assert (outcome.verdict, outcome.exit_status) == ("deferred", 75), outcome
    assert agent.submitted() == []
    terminal.tmux("send-keys", "-t", agent.pane, "Enter")
    agent.wait("submit")
    assert agent.submitted() == ["rm -rf important"]


def test_an_open_dialog_is_never_answered(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("dialog")
    for _ in range(LONG):
        outcome = terminal.submit("a", "y")
        assert outcome.verdict == "deferred", outcome
    assert agent.events("approve", "stray", "submit") == []


def test_a_dialog_that_opens_after_the_paste_gets_no_enter(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("dialog-on-paste")
    outcome = terminal.submit("a", "hello", timeout=2)
    assert (outcome.verdict, outcome.exit_status) == ("unproven", 76), outcome
    assert agent.events("approve", "stray", "submit") == []


def test_a_dialog_that_listens_before_it_is_drawn_is_not_answered(terminal: Terminal) -> None:
    """opencode and gemini do, for 20 to 90 ms: a command ran, and the verdict was "submitted"."""
    agent = terminal.agent("a")
    for word in ("busy", "undrawn", "dialog-on-paste"):
        agent.tell(word)
    outcome = terminal.submit("a", "hello", timeout=5)
    assert (outcome.verdict, outcome.exit_status) == ("unproven", 76), outcome
    assert agent.events("approve", "stray", "submit", "queue") == []


def test_a_swallowed_enter_is_pressed_again_and_nothing_pasted_twice(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("swallow 1")
    outcome = terminal.submit("a", "stubborn")
    assert outcome.verdict == "submitted", outcome
    assert agent.submitted() == ["stubborn"]


def test_where_a_second_enter_does_harm_it_is_pressed_once(terminal: Terminal) -> None:
    profile = terminal.home / ".config/bus-watch/profiles/standin.toml"
    profile.write_text(profile.read_text().replace("[typing]", '[typing]\nagain = "no"'))
    agent = terminal.agent("a")
    agent.tell("swallow 1")
    assert terminal.submit("a", "stubborn", timeout=8.0).verdict == "unproven"
    assert len(agent.events("swallowed")) == 1
    assert agent.submitted() == []


def test_enter_that_became_a_line_feed_is_pressed_again(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("line-feed 1")
    assert terminal.submit("a", "slowly").verdict == "submitted"
    assert agent.submitted() == ["slowly\n"]


def test_a_draft_that_stays_is_unproven(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("swallow 99")
    outcome = terminal.submit("a", "stuck", retries=1, timeout=2.5 if process_table.HAS_PROC else 10)
    assert (outcome.verdict, outcome.exit_status) == ("unproven", 76), outcome
    assert "still in the input box" in outcome.reason
    assert agent.submitted() == []


def test_a_deaf_ui_gets_no_enter(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("deaf")
    outcome = terminal.submit("a", "hello?", timeout=2)
    assert outcome.verdict == "unproven", outcome
    assert agent.submitted() == []


def test_breaking_out_of_the_paste_submits_nothing_extra(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    outcome = terminal.submit("a", "before\x1b[201~\rrm -rf /\r\x9b201~\x1b[200~after\x03\x04")
    assert outcome.verdict == "submitted", outcome
    assert agent.submitted() == ["before␛[201~\nrm -rf /\n\ufffd201~␛[200~after␃␄"]


def test_a_shell_is_never_typed_into(terminal: Terminal) -> None:
    pane = terminal.session("sh", "bash", "--norc")
    until(lambda: "$" in terminal.screen(pane) or "#" in terminal.screen(pane), "a prompt")
    before = terminal.screen(pane)
    for _ in range(100):
        outcome = terminal.submit("sh", "touch /tmp/never")
        assert (outcome.verdict, outcome.exit_status) == ("refused", 69), outcome
    assert terminal.submit("sh", "echo no", agent="generic").verdict == "refused"
    assert terminal.submit("sh", "echo no", agent="standin").verdict == "refused"
    assert terminal.screen(pane) == before


def test_allow_shell_types_and_claims_nothing(terminal: Terminal) -> None:
    pane = terminal.session("sh", "bash", "--norc")
    until(lambda: "$" in terminal.screen(pane) or "#" in terminal.screen(pane), "a prompt")
    done = terminal.run("send_message", "-t", "sh", "--allow-shell", "-m", "echo $((6*7)); echo 'a;b'")
    assert done.returncode == 76, done
    until(lambda: "\n42\na;b\n" in terminal.screen(pane), "both commands ran")
    done = terminal.run("send_message", "-t", "sh", "--allow-shell", "--accept", "unproven", "-m", "echo o''k")
    assert done.returncode == 0, done


def test_an_unknown_program_is_refused_unless_vouched_for(terminal: Terminal) -> None:
    pane = terminal.session("cat", "cat", "-v")
    outcome = terminal.submit("cat", "hello")
    assert outcome.verdict == "refused"
    assert "cat" in outcome.reason
    assert "--agent" in outcome.reason
    assert terminal.submit("cat", "hello", agent="generic").verdict == "unproven"
    until(lambda: terminal.screen(pane).count("hello") == 2, "typed and echoed once each")


def test_a_known_agent_with_an_unknown_screen_is_deferred(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    terminal.tmux("resize-window", "-t", "a", "-x", "8")  # rules too short to be known
    agent.tell("title x")
    outcome = terminal.submit("a", "hello")
    assert outcome.verdict == "deferred", outcome
    assert "no input box" in outcome.reason
    assert agent.submitted() == []


def test_a_dead_pane_is_gone_and_the_server_lives(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    terminal.tmux("set-option", "-t", "a", "remain-on-exit", "on")
    agent.tell("idle")
    with agent.control.open("w") as control:
        control.write("exit\n")
    until(lambda: terminal.tmux("display-message", "-p", "-t", agent.pane, "#{pane_dead}").strip() == "1", "dead")
    for agent_name in ("", "generic"):
        outcome = terminal.submit("a", "hello", agent=agent_name)
        assert (outcome.verdict, outcome.exit_status) == ("gone", 69), outcome
    assert "keep" in terminal.tmux("list-sessions")


def test_copy_mode_is_left_first(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    terminal.tmux("copy-mode", "-t", agent.pane)
    assert terminal.submit("a", "two\nlines").verdict == "submitted"
    assert agent.submitted() == ["two\nlines"]


def test_panes_that_copy_keys_to_others_are_refused(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    terminal.tmux("split-window", "-t", "a", "bash", "--norc")
    terminal.tmux("set-option", "-w", "-t", "a", "synchronize-panes", "on")
    outcome = terminal.submit(agent.pane, "hello")
    assert outcome.verdict == "refused"
    assert "synchronize" in outcome.reason


def test_names_are_exact(terminal: Terminal) -> None:
    agent = terminal.agent("agent-long")
    for target in ("agent", "agent-l", "*", "agent*", "=agent-long", "", ":", ":0", "agent-long:7", "%99", "@0", "$0"):
        outcome = terminal.submit(target, "hello")
        assert (outcome.verdict, outcome.exit_status) == ("gone", 69), (target, outcome)
    for target in ("agent-long", "agent-long:0", "agent-long:0.0", agent.pane):
        assert terminal.submit(target, target).verdict == "submitted"
    assert len(agent.submitted()) == 4


def test_of_several_panes_the_only_agent_or_none(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    terminal.tmux("split-window", "-t", "a", "bash", "--norc")
    assert terminal.submit("a", "to the agent").verdict == "submitted"
    terminal.session("two", "cat")
    terminal.tmux("split-window", "-t", "two", "cat")
    outcome = terminal.submit("two", "hello")
    assert outcome.verdict == "refused"
    assert outcome.reason.count("%") == 2
    assert agent.submitted() == ["to the agent"]


def test_twenty_senders_at_once_are_twenty_submissions(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    texts = [f"message {number}\nsecond line of {number}" for number in range(20)]
    base = [sys.executable, "-m", "worker.terminal.send_message", "--socket-path", terminal.socket, "-t", "a"]
    senders = [
        subprocess.Popen(
            [*base, "--timeout", "60", "-m", text], env=terminal.environment, cwd=ROOT, stdout=subprocess.DEVNULL
        )
        for text in texts
    ]
    assert [one.wait(90) for one in senders] == [0] * 20
    assert sorted(agent.submitted()) == sorted(texts)


@pytest.mark.usefixtures("both_ways")
def test_senders_of_other_time_zones_and_languages_exclude_each_other(terminal: Terminal) -> None:
    """A worker of launchd has neither; a person's shell has both."""
    agent = terminal.agent("a")
    base = [sys.executable, "-m", "worker.terminal.send_message", "--socket-path", terminal.socket, "-t", "a"]
    places: tuple[dict[str, str], ...] = (
        {"TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8"},
        {"TZ": "America/New_York"},
        {"LC_ALL": "C"},
        {},
    )
    senders = [
        subprocess.Popen(
            [*base, "--timeout", "60", "-m", f"from {number}"],
            env={**terminal.environment, **place},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        for number, place in enumerate(places)
    ]
    assert [one.wait(90) for one in senders] == [0] * len(places)
    assert sorted(agent.submitted()) == [f"from {number}" for number in range(len(places))]


@pytest.mark.usefixtures("both_ways")
def test_the_lock_dies_with_its_holder(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("busy")
    base = [sys.executable, "-m", "worker.terminal.send_message", "--socket-path", terminal.socket, "-t", "a", "-v"]
    holder = subprocess.Popen(
        [*base, "--when-idle", "--timeout", "60", "-m", "first"],
        env=terminal.environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    assert holder.stderr is not None
    while b"busy" not in holder.stderr.readline():
        pass
    deferred = terminal.submit("a", "second", timeout=2)
    assert (deferred.verdict, deferred.reason) == ("deferred", "another sender is typing into this pane")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stderr.close()
    began = time.monotonic()
    assert terminal.submit("a", "third").verdict == "queued"
    assert time.monotonic() - began < 5
    assert agent.events("queue", "submit") == [("queue", "third")]


def test_typing_in_the_last_moment_is_not_mixed_in(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that arrives between the last look and the paste stops the paste."""
    agent = terminal.agent("a")
    from worker.terminal.tmux import PaneLock

    original = PaneLock.paste

    def late(self: PaneLock, text: bytes, note: str, cursor: str) -> bool:
        monkeypatch.setattr(PaneLock, "paste", original)
        agent.tell("draft w")
        until(lambda: f"{PROMPT} w" in terminal.screen(agent.pane), "the letter shows")
        return original(self, text, note, cursor)

    monkeypatch.setattr(PaneLock, "paste", late)
    outcome = terminal.submit("a", "hello")
    assert outcome.verdict == "deferred", outcome
    assert agent.submitted() == []
    assert terminal.tmux("list-buffers") == ""


def test_a_send_runs_tmux_and_nothing_else_once_a_step(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = terminal.agent("a")
    ran: list[list[str]] = []
    original = LocalRunner.run

    def run(self: LocalRunner, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 5.0) -> Result:
        ran.append(list(argv))
        return original(self, argv, stdin, timeout=timeout)

    monkeypatch.setattr(LocalRunner, "run", run)
    assert terminal.submit("a", "hello").verdict == "submitted"
    assert agent.submitted() == ["hello"]
    assert {argv[0] for argv in ran} == ({"tmux"} if process_table.HAS_PROC else {"tmux", "ps"})
    ran = [argv for argv in ran if argv[0] == "tmux"]
    looks = [argv for argv in ran if argv[4] == "display-message" and "capture-pane" in argv]
    # list-panes, lock, paste, Enter, release; each look is one command line. Without /proc tmux says where it is.
    assert len(ran) - len(looks) == (5 if process_table.HAS_PROC else 6), "\n".join(map(str, ran))


def test_a_paste_that_tmux_refuses_is_not_called_unproven(terminal: Terminal) -> None:
    """It comes in one command line with the look at the pane's state: what failed before it must be told apart."""
    agent = terminal.agent("a")
    tmux = terminal.home / "tmux"
    real = f"exec {shutil.which('tmux')}"
    refused = f"{real} -u -S {terminal.socket} load-buffer /nowhere/at/all"
    tmux.write_text(f'#!/bin/sh\n[ "$4" != load-buffer ] || {{ shift 7; {refused} "$@"; }}\n{real} "$@"\n')
    tmux.chmod(0o755)
    server = Server(LocalRunner(terminal.environment), program=str(tmux), socket_path=terminal.socket)
    outcome = submit(server, "a", "hello", Options(), terminal.profiles())
    assert outcome.verdict == "gone", outcome
    assert "/nowhere/at/all" in outcome.reason
    assert agent.events("submit", "stray") == []
    assert terminal.submit("a", "hello").verdict == "submitted"


def test_no_buffer_and_no_lock_stays_behind(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    terminal.submit("a", "hello")
    assert terminal.tmux("list-buffers") == ""
    assert "bus_watch" not in terminal.tmux("show-options", "-p", "-t", agent.pane)


def test_the_time_out_is_kept(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("busy")
    for commands, timeout in ((("idle", "swallow 99"), 2.0), (("deaf",), 1.0)):
        agent.tell(*commands)
        began = time.monotonic()
        terminal.submit("a", "hello", timeout=timeout)
        assert time.monotonic() - began < timeout + 1


def test_a_pane_that_vanishes_meanwhile_is_an_honest_verdict(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("swallow 99")

    def kill() -> None:
        until(lambda: "swallowed" in agent.log.read_text(), "Enter")
        terminal.tmux("kill-pane", "-t", agent.pane)

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = terminal.submit("a", "hello")
    killer.join()
    assert outcome.verdict == "unproven", outcome


@pytest.mark.parametrize("text", ["---", "-v", "--help", "-m", "/clear", "exit", "!ls", "--message=x", "--"])
def test_a_text_is_a_text(terminal: Terminal, text: str) -> None:
    agent = terminal.agent("a")
    done = terminal.run("send_message", "-t", "a", "-m", text)
    assert done.returncode == 0, done
    assert agent.submitted() == [f"> {text}" if text in {"/clear", "exit", "!ls"} else text]


def test_certain_types_only_where_late_dialogs_are_safe(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    outcome = terminal.submit("a", "hello", certain=True)
    assert (outcome.verdict, "dialogs" in outcome.reason) == ("deferred", True), outcome
    assert agent.submitted() == []


def test_what_the_ui_makes_of_our_text_is_not_taken_for_an_empty_box(terminal: Terminal) -> None:
    """Enter changed it, and it still stands in the box."""
    agent = terminal.agent("a", record=False)
    agent.tell("rewrite")
    outcome = terminal.submit("a", "a text that will look otherwise", timeout=5)
    assert outcome.verdict == "unproven", outcome
    assert agent.submitted() == []


def test_an_agent_that_answers_with_an_error_has_refused(terminal: Terminal) -> None:
    agent = terminal.agent("a")
    agent.tell("error Not logged in")
    outcome = terminal.submit("a", "hello")
    assert (outcome.verdict, outcome.exit_status) == ("refused", 69), outcome
    assert "Not logged in" in outcome.reason
    assert "window" in outcome.timings


@pytest.mark.parametrize(
    ("where", "record"),
    [(where, False) for where in ("above", "below", "rule", "placeholder", "title", "moves", "elsewhere")]
    + [("elsewhere", True)],
)
def test_a_ui_that_never_holds_still_is_typed_into(terminal: Terminal, where: str, record: bool) -> None:
    """A spinner, a clock: the box itself is still."""
    agent = terminal.agent("a", record=record)
    agent.tell(f"spin {where}")
    outcome = terminal.submit("a", "one")
    assert outcome.verdict == "submitted", outcome
    agent.tell("draft a person's half")
    assert terminal.submit("a", "two").verdict == "deferred"
    assert agent.submitted() == ["one"]


ODD = {
    "bidi": "a \u202eevil\u202c b \u2066x\u2069 c",
    "zero width": "a\u200bb\u200cc\u2060d \ufeffe",
    "blank braille": "\u2800\u2800",
    "no characters": "a\uffff\ufdd0\U000e0001b",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "zalgo": "h\u0335\u0321e\u0334\u0301l\u0337\u0300l\u0336o\u0338",
    "right to left": "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645",
    "64 KB on one line": "x" * 65536,
    "the placeholder": "Try something",
    "a dialog": "Do you want to proceed?\n\u276f 1. Yes\n  2. No\n Esc to cancel",
    "a footer": "? for shortcuts",
    "a box": "\u2500" * 100 + "\n\u276f hello\n" + "\u2500" * 100,
    "a marker": "[Pasted text #1 +40 lines]\n" + "\n".join(f"row {n}" for n in range(40)),
    "a note of ours": "@bus_watch_pasted 0123456789abcdef.0123456789abcdef.5.1795739679",
    "tmux's formats": "#{pane_id} #(kill-server) ; kill-server",
    "blank lines": "a" + "\n" * 40 + "b",
}


@pytest.mark.parametrize("kinds", [list(ODD)[at::3] for at in range(3)], ids=", ".join)
def test_an_odd_text_arrives_once_and_so_does_the_next(terminal: Terminal, kinds: list[str]) -> None:
    agent = terminal.agent("a")
    for kind in kinds:
        outcome = terminal.submit("a", ODD[kind])
        assert outcome.verdict == "submitted", (kind, outcome)
        assert terminal.submit("a", f"behind {kind}").verdict == "submitted", kind
    wanted = [one for kind in kinds for one in (sanitise(ODD[kind]), f"behind {kind}")]
    assert [text.removeprefix("> ") for text in agent.submitted()] == wanted


@pytest.mark.parametrize(
    "text", ["", " \t ", "\n\n", "\0\0", "\u200b\u200b", "\u0301", "\u00ad", "\ufeff", "\U0001f3fd"]
)
def test_a_text_of_which_nothing_would_be_seen_is_refused(text: str) -> None:
    with pytest.raises(TextError):
        checked(text)


@pytest.mark.parametrize("holder", ["garbage #{pane_id} '", "a,b}#(exit 1)", "1.2.3", "x" * 500, "zz.1.1.99999999999"])
def test_a_lock_that_nobody_of_ours_took_holds_nothing_up(terminal: Terminal, holder: str) -> None:
    agent = terminal.agent("a")
    terminal.tmux("set-option", "-p", "-t", agent.pane, "@bus_watch_lock", holder)
    assert terminal.submit("a", "hello").verdict == "submitted"


@pytest.mark.parametrize(
    "command",
    [
        "resize-window -t {} -x 60 -y 15",
        "rename-session -t a other",
        "break-pane -d -s {} -t keep:",
        "swap-pane -s {} -t keep:0.0",
        "copy-mode -t {}",
        "select-pane -t {} -T a|b",
    ],
)
def test_what_changes_between_paste_and_enter_and_does_not_matter(terminal: Terminal, command: str) -> None:
    agent = terminal.agent("a")
    terminal.tmux("split-window", "-t", agent.pane, "cat")
    terminal.tmux("set-hook", "-g", "after-paste-buffer", command.format(agent.pane))
    outcome = terminal.submit(agent.pane, "two\nlines")
    assert outcome.verdict == "submitted", outcome
    assert agent.submitted() == ["two\nlines"]


@pytest.mark.parametrize("command", ["kill-server", "respawn-pane -k -t {} cat", "kill-pane -t {}"])
def test_what_ends_the_agent_between_paste_and_enter_is_unproven(terminal: Terminal, command: str) -> None:
    agent = terminal.agent("a")
    terminal.tmux("set-hook", "-g", "after-paste-buffer", command.format(agent.pane))
    outcome = terminal.submit("a", "hello")
    assert (outcome.verdict, agent.submitted()) == ("unproven", []), outcome
    assert "||" not in outcome.reason


@pytest.mark.parametrize(
    ("width", "height", "verdict"), [(100, 1, "deferred"), (100, 3, "deferred"), (500, 4, "submitted")]
)
def test_a_pane_too_low_for_its_box_is_not_typed_into(
    terminal: Terminal, width: int, height: int, verdict: str
) -> None:
    agent = terminal.agent("a")
    terminal.tmux("resize-window", "-t", agent.pane, "-x", str(width), "-y", str(height))
    outcome = terminal.submit("a", "two\nlines")
    assert outcome.verdict == verdict, outcome
    assert agent.submitted() == ["two\nlines"] * (verdict == "submitted")
