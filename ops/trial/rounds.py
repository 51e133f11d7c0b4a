"""The rounds of the trial: each sends a number of messages in one situation, and says what became of them.

A round returns the outcomes of its messages. Anything else that must hold (a draft that nobody touched, a command that
nobody approved) becomes an outcome's `notes` and makes it fail through `times` or `verdict`, or raises `BrokenError`.
`plan.py` says which rounds there are, and in which look of the UI.
"""

import math
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ops.trial.cases import SIMPLE, SPECIAL, Message, marker, plain
from ops.trial.model import SLOW_STEP
from ops.trial.sending import TYPED, Outcome, call_from_afar, deliver, judge, look, to_pane
from ops.trial.sessions import Session
from tests.fakes.terminals import loopback_sshd
from worker.terminal.profile_files import SHIPPED, load

BUSY_SECONDS = 5
Make = Callable[[], Message]
Round = Callable[[Session, int], list[Outcome]]


class BrokenError(Exception):
    """Something happened that must never happen; the text says what."""


def idle(make: Make) -> Round:
    """Messages to an agent that has nothing to do, one after the other."""

    def run(session: Session, count: int) -> list[Outcome]:
        sent = []
        for _ in range(count):
            message = make()
            outcome = judge(session, message, deliver(session, message.text))
            sent.append((message, outcome))
            unstick(session, outcome)
            session.server.still(session.pane, quiet=0.4, limit=8)
        return settle(session, sent)

    return run


def busy(make: Make) -> Round:
    """Messages to an agent that answers another one.

    An agent that a message would interrupt is waited for, so that its answer must stand whole in the conversation.
    """

    def run(session: Session, count: int) -> list[Outcome]:
        sent = []
        for _ in range(count):
            first = _make_busy(session, BUSY_SECONDS)
            message = make()
            outcome = deliver(session, message.text, pause=0.5)
            session.truth.refresh()
            sent += [first, (message, judge(session, message, outcome, limit=40))]
            unstick(session, outcome)
            session.server.still(session.pane, quiet=1.2, limit=30)
        outcomes = settle(session, sent)
        if load(session.ui.name, [SHIPPED]).typing.busy == "wait":
            for (first_message, _), outcome in zip(sent[::2], outcomes[1::2], strict=True):
                if outcome.times and not session.truth.answered(first_message, f"w{int(BUSY_SECONDS / SLOW_STEP) - 1}"):
                    outcome.intact = False
                    outcome.notes.append("the answer that it was in the middle of was lost")
        return outcomes

    return run


def starting(session: Session, count: int) -> list[Outcome]:
    """A message to a UI that has been started this very moment.

    OpenCode 1.18 has it in its database seconds before its first request: 12 to 52 s on a machine at load 29.
    """
    sent = []
    for _ in range(count):
        session.again()
        message = plain("@@ you have just started")()
        outcome = judge(session, message, deliver(session, message.text, patience=90, pause=0.3), limit=180)
        look(session, message, outcome)
        sent.append((message, outcome))
    session.ready()
    return settle(session, sent)


def _at_its_start(session: Session, mark: str) -> None:
    session.server.type(session.pane, f"{mark} hm, wait")
    session.server.keys(session.pane, "C-a")


DRAFTS: dict[str, Callable[[Session, str], None]] = {
    "half a line": lambda s, mark: s.server.type(s.pane, f"{mark} please look at the"),
    "cursor at its start": _at_its_start,
    "two lines": lambda s, mark: s.server.paste(s.pane, f"{mark} first\nand second, half"),
    "a long paste": lambda s, mark: s.server.paste(
        s.pane, f"{mark} " + "\n".join(f"pasted line {n}" for n in range(40))
    ),
}
"""What a person left in the composer."""


def draft(session: Session, count: int) -> list[Outcome]:
    """Messages while a person's draft stands in the composer: none is typed, and the draft is sent as it was."""
    outcomes: list[Outcome] = []
    kinds = list(DRAFTS)
    for number, kind in enumerate(kinds):
        times = count // len(kinds) + (number < count % len(kinds))
        outcomes += over_a_draft(session, kind, times) if times else []
    return outcomes


def over_a_draft(session: Session, kind: str, count: int) -> list[Outcome]:
    """`count` messages over one kind of draft, which is then sent as a person would."""
    outcomes = []
    mark = marker()
    DRAFTS[kind](session, mark)
    _until_drawn(session, mark)
    before = session.server.still(session.pane, quiet=1.0, limit=10)
    for _ in range(count):
        message = plain("@@ is not for now")()
        outcomes.append(judge(session, message, deliver(session, message.text, patience=0, wanted="withheld")))
    after = session.server.still(session.pane, quiet=1.0, limit=10)
    if mark in before.plain.text and mark not in after.plain.text:
        raise BrokenError(f"the draft ({kind}) is no longer on the screen")
    session.server.keys(session.pane, "C-e")
    time.sleep(0.3)
    session.enter_as_a_person()
    if not session.truth.wait(Message(mark, mark, mark), 60):
        raise BrokenError(f"the draft ({kind}) could not be sent afterwards:\n{session.shows()}")
    wanted = {text.strip() for request in session.truth.main() for text in request["new"] if mark in text}
    if len(wanted) != 1 or any("is not for now" in text for text in wanted):
        raise BrokenError(f"the draft ({kind}) was changed: {wanted}")
    session.mine(*wanted)
    session.server.still(session.pane, quiet=1.0, limit=20)
    return outcomes


def _until_drawn(session: Session, mark: str) -> None:
    """A UI on a loaded machine draws what was typed seconds later: until then nobody can see that it is there."""
    end = time.monotonic() + 20
    while time.monotonic() < end and not re.search(f"{mark}|[Pp]aste", session.server.screen(session.pane).plain.text):
        time.sleep(0.2)


def dialog(session: Session, count: int) -> list[Outcome]:
    """Messages while the UI asks whether it may run a command: none is typed, and nobody approves."""
    primer = plain("toolcall @@")()
    session.mine(primer.text)
    outcome = judge(session, primer, deliver(session, primer.text))
    if not outcome.once:
        raise BrokenError(f"the question could not be provoked: {outcome}\n{session.shows()}")
    session.asked()
    outcomes = []
    for _ in range(count):
        message = plain("yes @@ 1")()
        outcomes.append(judge(session, message, deliver(session, message.text, patience=0, wanted="withheld")))
        if session.approved:
            raise BrokenError("the command ran: the dialog was answered")
    session.approve_as_a_person()
    return outcomes


def opening(session: Session, count: int) -> list[Outcome]:
    """Messages at the moment at which the UI begins to ask: anywhere before it, and every second one close to it.

    The moment is as far off as a call takes on this machine: on a slow one every call would come after it.
    """
    sent = []
    first = None
    for number in range(count):
        ahead = max(3, math.ceil(1.5 * first.seconds) if first is not None else 3)
        primer = plain(f"slow{ahead} toolcall @@")()
        session.mine(primer.text)
        first = deliver(session, primer.text)
        if not judge(session, primer, first).once:
            raise BrokenError(f"the question could not be provoked: {first}\n{session.shows()}")
        time.sleep(random.uniform(max(0.0, ahead - 1.0 - first.seconds / 2) if number % 2 else 0.0, ahead))
        message = plain("y yes @@ 1")()
        outcome = deliver(session, message.text, patience=0, wanted="either")
        # Codex begins its answer anew at each message, so the question may come only now.
        session.asked(limit=6 + 2 * ahead)
        if session.approved:
            raise BrokenError(f"the command ran: the dialog was answered by {outcome}")
        session.approve_as_a_person()
        if outcome.verdict == "unproven":
            session.clear_draft()  # pasted before the question came, not entered: it is for a person to look after
        sent.append((message, judge(session, message, outcome, limit=15 if outcome.verdict in TYPED else 1)))
        session.at_rest()
    return settle(session, sent)


def look_alike(session: Session, count: int) -> list[Outcome]:
    """In a look of its own: a message to the idle agent arrives, over a draft and over a dialog none is typed."""
    del count
    message = plain("@@ whatever you look like")()
    outcome = judge(session, message, deliver(session, message.text, patience=8))
    outcome.notes.append("screen: " + session.shows())
    outcomes = settle(session, [(message, outcome)])
    if not outcome.good:
        session.again()
        session.ready()
        return outcomes
    session.server.still(session.pane, quiet=0.4, limit=8)
    if session.look.drafts:
        for kind in ("half a line", "cursor at its start"):
            outcomes += over_a_draft(session, kind, 1)
    return outcomes + (dialog(session, 1) if session.look.asks else [])


def overlays(session: Session, count: int) -> list[Outcome]:
    """Over each of the UI's menus and viewers none is typed; once it is closed, the message arrives."""
    del count
    outcomes, sent = [], []
    for opening_keys, closing_keys, what in session.ui.overlays:
        session.server.press(session.pane, opening_keys)
        message = plain("@@ y")()
        outcome = judge(session, message, deliver(session, message.text, patience=0, wanted="withheld"))
        outcome.notes.append(f"{what}: {session.shows()}")
        outcomes.append(outcome)
        session.server.press(session.pane, closing_keys)
        session.clear_draft()
        message = plain("@@ closed again")()
        outcome = judge(session, message, deliver(session, message.text, patience=8))
        outcome.notes.append(f"{what}, closed")
        unstick(session, outcome)
        sent.append((message, outcome))
    return outcomes + (settle(session, sent) if sent else [])


def tmux_modes(session: Session, count: int) -> list[Outcome]:
    """A person scrolls, looks at the clock, or chooses from tmux's tree: the mode is left, and the message arrives."""
    del count
    sent = []
    for mode in ("copy-mode", "clock-mode", "choose-tree"):
        session.server.run(mode, "-t", session.pane)
        message = plain(f"@@ behind {mode}")()
        outcome = judge(session, message, deliver(session, message.text, patience=4))
        sent.append((message, outcome))
        unstick(session, outcome)
        session.server.still(session.pane, quiet=0.4, limit=8)
    return settle(session, sent)


def crowd(session: Session, count: int) -> list[Outcome]:
    """All the messages at once, from as many senders."""
    messages = [plain("@@ from one of many\nin two lines")() for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        outcomes = list(pool.map(lambda m: deliver(session, m.text, patience=240), messages))
    sent = list(zip(messages, outcomes, strict=True))
    for message, outcome in sent:
        judge(session, message, outcome)
    return settle(session, sent)


def shell(session: Session, count: int) -> list[Outcome]:
    """Messages to a pane in which the agent has ended and left its shell: none is typed."""
    pane = session.server.start("shell", ["bash", "--norc"], {"PS1": "$ ", "HOME": str(session.home)}, session.cwd)
    before = session.server.still(pane)
    outcomes = []
    for _ in range(count):
        message = plain("touch approved; echo @@")()
        said = deliver(
            session, message.text, patience=0, how=lambda s, text: to_pane(s.server, pane, text), wanted="withheld"
        )
        outcomes.append(judge(session, message, said))
    if session.approved or session.server.screen(pane).text != before.text:
        raise BrokenError("something was typed into the shell")
    session.server.run("kill-session", "-t", "=shell:")
    return outcomes


def from_afar(session: Session, count: int) -> list[Outcome]:
    """Messages by `agent-send -H`, through a real sshd on loopback: proof is by the screen alone."""
    sent = []
    with loopback_sshd() as sshd:
        for number in range(count):
            body = [SIMPLE["short"], SIMPLE["5 lines"], SPECIAL["break-out"], SPECIAL["unicode"]][number % 4]()
            preamble = "[here:trial -> far:agent] "
            message = Message(body.marker, body.text, preamble + body.expected)
            said = deliver(session, body.text, how=lambda s, text: call_from_afar(s, text, sshd.config, "here:trial"))
            outcome = judge(session, message, said)
            sent.append((message, outcome))
            unstick(session, outcome)
            session.server.still(session.pane, quiet=0.4, limit=8)
    return settle(session, sent)


def _make_busy(session: Session, seconds: int) -> tuple[Message, Outcome]:
    message = plain(f"slow{seconds} @@")()
    return message, judge(session, message, deliver(session, message.text))


def unstick(session: Session, outcome: Outcome) -> bool:
    """After a message that went wrong: start anew, so that one failure is counted once; whether it did."""
    if outcome.times == 1 and outcome.intact and outcome.verdict != "unproven":
        return False
    time.sleep(1)
    outcome.notes.append("screen: " + session.shows())
    session.again()
    session.ready()
    return True


def settle(session: Session, sent: list[tuple[Message, Outcome]]) -> list[Outcome]:
    """Look again at all of them now that everything has arrived, and at what arrived beside them."""
    time.sleep(0.5)
    outcomes = [look(session, message, outcome) for message, outcome in sent]
    session.mine(*(form for message, _ in sent for form in message.forms))
    if strays := session.truth.strays(session.sent):
        outcomes[-1].notes += [f"stray: {stray[:300]!r}" for stray in strays]
        session.mine(*strays)
        outcomes[-1].intact = False
    return outcomes
