"""Leftovers: text of ours that stands in the box because its sender died, or because its Enter was lost.

Nothing of a person's may be lost, ours must come once or not at all, and the next message must arrive. tmux's own hooks
make each of these happen at the moment of the paste, whatever the sender does around it.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from ops.trial.cases import Message, marker, plain
from ops.trial.rounds import BrokenError, Round, settle
from ops.trial.sending import Outcome, deliver, environment, judge
from ops.trial.sessions import Session
from ops.trial.terminal import Server

OURS = plain("@@ is left over,\nall of it")


@contextlib.contextmanager
def hooked(server: Server, **commands: str) -> Iterator[None]:
    """Let tmux run each of `commands` behind every tmux command of that name (with _ for -), once."""
    names = {f"after-{name.replace('_', '-')}": command for name, command in commands.items()}
    for name, command in names.items():
        server.run("set-hook", "-g", name, command)
    try:
        yield
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            for name in names:
                server.run("set-hook", "-gu", name)


def killed(session: Session) -> tuple[Message, Outcome]:
    """The sender is killed the moment it has pasted."""
    message = OURS()
    pid = session.home / "sender.pid"
    argv = [sys.executable, "-m", "worker.terminal.send_message", "--socket-name", session.server.name, "--json"]
    with hooked(session.server, paste_buffer=f"run-shell 'kill -9 $(cat {pid})'"):
        sender = subprocess.Popen(
            [*argv, "-t", session.pane], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment()
        )
        pid.write_text(str(sender.pid))
        sender.communicate(message.text.encode(), timeout=60)
    if sender.returncode != -9:
        raise BrokenError(f"the sender was to be killed as it pasted, but ended with {sender.returncode}")
    since = len(session.truth.requests)
    return message, Outcome(message.text, "unproven", -9, 0.0, 1, "killed", wanted="either", since=since)


def swallowed(session: Session) -> tuple[Message, Outcome]:
    """Every Enter of the sender is lost, and tmux says nothing of it."""
    message = OURS()
    with hooked(session.server, paste_buffer=f"select-pane -d -t {session.pane}"):
        outcome = deliver(session, message.text, patience=0, wanted="either")
    session.server.run("select-pane", "-e", "-t", session.pane)
    return message, outcome


def swallowed_once(session: Session) -> tuple[Message, Outcome]:
    """The first Enter is lost."""
    message = OURS()
    off, on = (f"select-pane {flag} -t {session.pane}" for flag in ("-d", "-e"))
    with hooked(session.server, paste_buffer=off, send_keys=on):
        outcome = deliver(session, message.text, patience=0, wanted="either")
    session.server.run("select-pane", "-e", "-t", session.pane)
    return message, outcome


HOW = {"killed": killed, "Enter swallowed": swallowed, "one Enter swallowed": swallowed_once}


def left(name: str) -> Round:
    """A message is left over in one of the ways of `HOW`; the next one follows."""

    def run(session: Session, count: int) -> list[Outcome]:
        sent: list[tuple[Message, Outcome]] = []
        for _ in range(count):
            message, outcome = HOW[name](session)
            outcome.notes.append("left: " + session.shows())
            sent += [(message, outcome), _next(session)]
        return settle(session, sent)

    return run


def typed_behind(session: Session, count: int) -> list[Outcome]:
    """A person finds our text, and types behind it: theirs to send."""
    sent: list[tuple[Message, Outcome]] = []
    for _ in range(count):
        message, outcome = swallowed(session)
        mark = marker()
        session.server.type(session.pane, f" {mark} by hand")
        sent += [(message, outcome), *_a_persons(session, mark), _next(session)]
    return settle(session, sent)


def typed_meanwhile(session: Session, count: int) -> list[Outcome]:
    """A person types behind our text before our Enter."""
    sent: list[tuple[Message, Outcome]] = []
    for _ in range(count):
        message, mark = OURS(), marker()
        with hooked(session.server, paste_buffer=f"send-keys -t {session.pane} -l ' {mark} by hand'"):
            outcome = deliver(session, message.text, patience=0, wanted="either")
        sent += [(message, outcome), *_a_persons(session, mark), _next(session)]
    return settle(session, sent)


def _a_persons(session: Session, mark: str) -> list[tuple[Message, Outcome]]:
    """Ours and a person's text stand in the box: the next message is withheld, and the person sends what is theirs."""
    shown = session.server.still(session.pane, quiet=0.5, limit=5)
    other = plain("@@ must wait for the person")()
    outcome = judge(session, other, deliver(session, other.text, patience=0, wanted="withheld"))
    typed = Message(mark, mark, mark)
    session.truth.refresh()
    if session.truth.found(typed).times:
        raise BrokenError(f"what the person was typing was sent: {session.shows()}")
    if mark in shown.plain.text and mark not in session.server.still(session.pane, quiet=0.5, limit=5).plain.text:
        raise BrokenError(f"what the person typed is gone: {session.shows()}")
    session.enter_as_a_person()
    if not session.truth.wait(typed, 15):
        raise BrokenError(f"what the person typed could not be sent: {session.shows()}")
    texts = {text for request in session.truth.main() for text in request["new"] if mark in text}
    if any(other.marker in text for text in texts):
        raise BrokenError(f"another message was mixed into the person's: {texts}")
    session.mine(*texts)
    return [(other, outcome)]


def _next(session: Session) -> tuple[Message, Outcome]:
    message = plain("@@ is the next one")()
    outcome = judge(session, message, deliver(session, message.text, patience=15), limit=30)
    if not outcome.good:
        outcome.notes.append("screen: " + session.shows())
        session.again()
        session.ready()
    session.server.still(session.pane, quiet=0.4, limit=6)
    return message, outcome
