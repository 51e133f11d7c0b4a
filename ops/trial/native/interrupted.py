"""Cases in which somebody ends: the sender, at steps and moments, or the session that is written to."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
import uuid
from typing import Any

from ops.trial.cases import marker
from ops.trial.native.trial import SURE, Case, Trial, mark_of
from ops.trial.sending import ROOT
from ops.trial.sessions import Session
from worker import process_table
from worker.terminal.channels.names import TYPE

STEPS = ("channel.found", "channel.noted", "channel.sent")
POINTS = 10
_MOMENTS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.17, 0.23, 0.3)  # seconds behind a hand-over
RESUME = {
    "codex": ["resume", "--last"],
    "claude": ["--continue"],
    "copilot": ["--continue"],
    "opencode": ["--continue"],
    "pi": ["--continue"],
    "qwen": ["--continue"],
}


def killed(trial: Trial, case: Case, count: int) -> None:
    """The sender is killed at a step or a moment, and the message is sent again under the same key."""
    for number in range(max(POINTS, count)):
        text, key = f"killed {number} {marker()}", uuid.uuid4().hex
        point = number % POINTS
        if point < len(STEPS):
            trial.wake(text, key=key, step=f"worker.{STEPS[point]}")
        else:
            process = subprocess.Popen(
                trial.argv(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT, env=trial.environment(key)
            )
            assert process.stdin is not None
            process.stdin.write(text.encode())
            process.stdin.close()
            time.sleep(0.15 + 0.1 * (point - len(STEPS)) + 0.1 * random.random())
            process.send_signal(signal.SIGKILL)
            process.wait()
        trial.take(case, text, _until_sure(trial, text, key))


def ended(trial: Trial, case: Case, count: int) -> None:
    """The UI has ended: nothing may be lost without a word. It is started again, and the message is sent again."""
    session = trial.session
    for _ in range(count):
        text, key = f"ended {marker()}", uuid.uuid4().hex
        _kill_ui(session)
        time.sleep(0.7)
        case.notes.append("after its end: " + str(trial.wake(text, key=key)["verdict"]))
        session.again()
        session.ready()
        trial.take(case, text, _until_sure(trial, text, key))


def left(trial: Trial, case: Case, count: int) -> None:
    """The UI is killed while a sender is between its look and its send; the message is sent again when it is back.

    The sender stands still meanwhile: when it has found the session, when it has noted that it hands the message over,
    or at a moment. The UI comes back with a new conversation and with the one that it had, in turn.
    """
    _open_channel(trial)
    for number in range(count):
        text, key = f"left {marker()}", uuid.uuid4().hex
        where = STEPS[number % len(STEPS)]
        if where == "channel.sent":
            where, report = "a moment", _left_at_a_moment(trial, text, key, 0.1 + 0.05 * (number % 7))
        else:
            report = trial.halted(text, key, where, lambda: _kill_ui(trial.session))
            where = where if report["halted"] else f"no step, by {report['channel']}"
        case.notes.append(f"it ended at {where}: {report['verdict']}")
        if number // len(STEPS) % 2:
            _resume(trial.session, RESUME[trial.session.ui.name])
        else:
            trial.session.again()
        trial.session.ready()
        trial.take(case, text, report if report["status"] in SURE else _until_sure(trial, text, key))


def _left_at_a_moment(trial: Trial, text: str, key: str, seconds: float) -> dict[str, Any]:
    """The report of a sender whose UI is killed so long after it was started."""
    said: list[dict[str, Any]] = []
    sender = threading.Thread(target=lambda: said.append(trial.wake(text, key=key)))
    sender.start()
    time.sleep(seconds)
    _kill_ui(trial.session)
    sender.join()
    return said[0]


def _kill_ui(session: Session) -> None:
    """The UI is gone, and something else is in its pane."""
    with contextlib.suppress(subprocess.CalledProcessError):
        session.server.run("respawn-pane", "-k", "-t", session.pane, "--", "sleep", "600")
    time.sleep(0.3)


def resumed(trial: Trial, case: Case, count: int) -> None:
    """The UI is ended and its last session resumed: messages from before are not sent again, new ones arrive."""
    session = trial.session
    more = RESUME.get(session.ui.name)
    if more is None:
        case.notes.append("it resumes no session")
        return
    old, key = f"before {marker()}", uuid.uuid4().hex
    first = trial.wake(old, key=key)
    case.notes.append(f"before it ended: {first['verdict']} via {first['channel']}")
    trial.wait([mark_of(old)], 10)
    _resume(session, more)
    session.ready()
    if first["channel"] != TYPE:  # of what was typed, only the pane that is gone knew
        case.sent.append((old, trial.wake(old, key=key)))
    for _ in range(max(2, count - 1)):
        text = f"resumed {marker()}"
        trial.take(case, text, trial.wake(text))
    session.again()
    session.ready()


def killed_and_resumed(trial: Trial, case: Case, count: int) -> None:
    """The sender dies right after the hand-over, the UI with its tmux, too; the retry comes while both start anew."""
    if trial.session.ui.name not in RESUME:
        case.notes.append("it resumes no session")
        return
    _open_channel(trial)  # what is resumed has a turn
    for _ in range(count):
        text, key = f"killed {marker()}", uuid.uuid4().hex
        if not _handed_over(trial, case, text, key):
            continue
        trial.wait([mark_of(text)], 10)
        trial.take(case, text, _resumed_and_sent_again(trial, case, text, key))


def killed_behind_a_turn(trial: Trial, case: Case, count: int) -> None:
    """As `killed_and_resumed`, while the message waits behind a turn that its agent's end cuts off."""
    _open_channel(trial)
    for _ in range(count):
        text, key = f"behind {marker()}", uuid.uuid4().hex
        busy = f"slow30 {marker()}"
        trial.wake(busy)
        trial.wait([mark_of(busy)])
        if not _handed_over(trial, case, text, key):
            continue
        report = _resumed_and_sent_again(trial, case, text, key)
        trial.wait([mark_of(text)], 12)
        if report["status"] == 0 and not trial.arrived(mark_of(text)):
            trial.enter(f"and now {marker()}")
            case.notes.append("it waited for the person's next turn")
        trial.take(case, text, report)


def killed_with_it(trial: Trial, case: Case, count: int) -> None:
    """As `killed_and_resumed`, moments after the hand-over: a turn may have begun that no record has."""
    session = trial.session
    _open_channel(trial)
    for number in range(count):
        text, key = f"with it {marker()}", uuid.uuid4().hex
        if not _handed_over(trial, case, text, key):
            continue
        time.sleep(_MOMENTS[number % len(_MOMENTS)])
        root = int(session.server.run("display-message", "-p", "-t", session.pane, "#{pane_pid}"))
        for pid in [one for one, _ in process_table.descendants(root, lambda _: True)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        trial.take(case, text, _resumed_and_sent_again(trial, case, text, key))


def begun_elsewhere(trial: Trial, case: Case, count: int) -> None:
    """The sender dies right after the hand-over; days later the UI is started anew, in another directory."""
    session, first = trial.session, trial.session.cwd
    for number in range(max(1, count // 2)):  # two messages each
        _open_channel(trial)
        text, key = f"left behind {marker()}", uuid.uuid4().hex
        if not _handed_over(trial, case, text, key):
            continue
        trial.wait([mark_of(text)], 10)
        case.notes.append("it had arrived" if trial.arrived(mark_of(text)) else "it had not arrived")
        session.stop()
        for path in session.home.rglob("*.jsonl"):
            os.utime(path, (time.time() - 3 * 86400,) * 2)
        session.cwd = first / f"other{number}"
        session.cwd.mkdir()
        session.start()
        session.ready()
        trial.take(case, text, _until_sure(trial, text, key))
        new = f"anew {marker()}"
        trial.take(case, new, trial.wake(new))
    session.cwd = first
    session.again()
    session.ready()


def _open_channel(trial: Trial) -> None:
    """Messages until one goes by the channel: OpenCode's session has a title, by which it is known, behind a turn."""
    for _ in range(4):
        text = f"first {marker()}"
        said = trial.wake(text)
        trial.take(Case("first"), text, said)
        if said["channel"] != TYPE:
            return


def _handed_over(trial: Trial, case: Case, text: str, key: str) -> bool:
    """Hand it to the channel by a sender that dies then; False: it was typed, say, which is no attempt to repeat."""
    said = trial.wake(text, key=key, step="worker.channel.sent")
    if said["status"] == -signal.SIGKILL:
        return True
    case.notes.append("it was not handed over: the channel was not there")
    trial.take(case, text, said)
    return False


def _resumed_and_sent_again(trial: Trial, case: Case, text: str, key: str) -> dict[str, object]:
    """End the UI, and send the message again while it is resumed; the report of the attempt that was sure."""
    case.notes.append("it had arrived" if trial.arrived(mark_of(text)) else "it had not arrived")
    _resume(trial.session, RESUME[trial.session.ui.name])
    report = _until_sure(trial, text, key)
    trial.session.ready()
    return report


def _resume(session: Session, more: list[str]) -> None:
    """End the UI with its tmux, and start it with `more` (RESUME): in the session that it had."""
    session.stop()
    how = session.ui.set_up(session.home, session.cwd, session.base)
    session.start(more=[*more, *how.args] if session.ui.name == "codex" else [*how.args, *more])


def _until_sure(trial: Trial, text: str, key: str) -> dict[str, object]:
    """Attempt after attempt, as the worker does, until the verdict is one that ends a delivery."""
    end = time.monotonic() + 75  # what was started again is asked for a minute
    while (said := trial.wake(text, key=key))["status"] not in SURE and time.monotonic() < end:
        time.sleep(1.0)
    return said
