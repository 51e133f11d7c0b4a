"""Submitting one message to one pane, and proving it: the state machine, the same for local and remote panes.

Lock, pane alive, foreground known, screen idle and still, paste in brackets, see our own text in the input
box, look again, Enter on its own, proof. Whatever is not recognised before the paste means that nothing is
typed. After it, text is never pasted again: Enter is repeated only while our own text is seen in the input
box.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from worker.errors import BusWatchError
from worker.terminal import clearing, screen, target
from worker.terminal.catalogue import Catalogue
from worker.terminal.leftover import PasteNote, fate_of
from worker.terminal.pace import SLOWEST, pace
from worker.terminal.places import Pane
from worker.terminal.profiles import Composer, Profile, ProfileError
from worker.terminal.proof import Verdict
from worker.terminal.runner import HostError, LocalRunner
from worker.terminal.stillness import Stillness
from worker.terminal.text import LEADING, MAX_BYTES, guard, sanitise, squeeze, unmentioned, unnamed
from worker.terminal.tmux import GoneError, Look, PaneLock, RefusedError, Server, TmuxError, UnsentError
from worker.terminal.versions import version_of
from worker.terminal.visit import DeferredError, Pasted, SendOptions, UnseenError, Visit

EXIT_STATUS = {"submitted": 0, "queued": 0, "deferred": 75, "unproven": 76, "gone": 69, "refused": 69}

_ROWS = 4  # a box between rules with two rows of text


class TextError(BusWatchError):
    """The text cannot be sent to any terminal."""

    code = "text"
    exit_status = 65


class Options(Struct, frozen=True):
    """What the caller wants."""

    agent: str = ""
    """A profile's name; empty: found from the pane."""
    allow_shell: bool = False
    when_idle: bool = False
    retries: int = 3
    """How often Enter is repeated at most."""
    timeout: float = 15.0
    """Seconds for everything."""
    certain: bool = False
    """Type only where the profile proves that a dialog which opens late is not answered (`dialog_safe`)."""
    key: str = ""
    """What the message is called on the bus: attempts of one delivery say the same. Empty: it has no name."""
    may_type: Callable[[], None] = lambda: None
    """Asked once the pane is ours and before anything is typed; what it raises is why nothing may be typed."""
    narrate: Callable[[str], None] = lambda _: None


class Outcome(Struct):
    """What became of a message."""

    verdict: str
    reason: str
    agent: str = ""
    pane: str = ""
    proof: str = ""
    host: str = ""
    timings: dict[str, float] = {}
    """Seconds from the start at which each step was done; `window`: seconds at most from the last look to Enter."""
    version: str = ""
    """Of the agent that runs, where it can be told."""
    measured: str = ""
    """The version that its profile was measured on."""
    leftover: str = ""
    """What became of the text that an earlier sender had left in the box; empty: there was none."""
    channel: str = "type"
    """How it went, or was to go: `type`, or a channel of the agent's own; see `channels.chain`."""
    passed: tuple[str, ...] = ()
    """The better links of the chain that stepped aside, each with its reason."""

    @property
    def exit_status(self) -> int:
        """See EXIT_STATUS."""
        return EXIT_STATUS[self.verdict]


def submit(
    server: Server, place: str, message: str, options: Options, profiles: Catalogue, pane: Pane | None = None
) -> Outcome:
    """Submit `message` to the pane that `place` means, and say what became of it. Keeps the time-out.

    `pane` is that pane, where the caller has looked for it already.

    Raises:
        TextError: there is nothing to send, or too much.
        HandedOverError: a channel may have it already.
    """
    return _Submission(server, place, checked(message), options, profiles, pane).run()


def checked(message: str) -> str:
    """The message as it may be sent, whatever the way.

    Raises:
        TextError: there is nothing to send, or too much.
    """
    text = sanitise(message)
    if not text.strip():
        raise TextError("the text is empty: there is nothing to send")
    if not squeeze(text):  # it could never be told from an empty box, nor be taken out again
        raise TextError("the text has nothing but marks that no screen shows: there is nothing to send")
    if len(text.encode()) > MAX_BYTES:
        raise TextError(f"the text has more than {MAX_BYTES} bytes: send a file's name instead")
    return text


def prepared(text: str, profile: Profile) -> str:
    """The text as it is pasted into that agent's box.

    Raises:
        TextError: it is too long for it.
    """
    if profile.typing.tabs:
        text = text.replace("\t", " " * profile.typing.tabs)
    for lost, instead in profile.typing.replaces.items():
        text = text.replace(lost, instead)
    if profile.typing.mentions != "keep":
        text = unmentioned(text, profile.typing.mentions)
    if profile.typing.commands == "anywhere":
        text = unnamed(text)
    if profile.typing.max_chars and len(text) > profile.typing.max_chars:
        raise TextError(f"the text has {len(text)} characters; {profile.name} takes {profile.typing.max_chars}")
    if profile.composer is None:
        return text  # on the caller's word: a shell would write to a file that is called after `> `
    return guard(text, {**LEADING, **profile.typing.leading}, profile.typing.trailing)


class HandedOverError(BusWatchError):
    """An earlier attempt has handed this message to a channel of the agent's own: nothing was typed."""

    code = "handed-over"
    exit_status = 76

    def __init__(self, channel: str, why: str) -> None:
        super().__init__(why)
        self.channel = channel


class _DoneError(Exception):
    """The message stood in the box already, and this is what became of it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class _Submission:
    """One message on its way."""

    def __init__(
        self, server: Server, place: str, text: str, options: Options, profiles: Catalogue, pane: Pane | None
    ) -> None:
        self.server, self.place, self.text, self.pane = server, place, text, pane
        self.options, self.profiles = options, profiles
        self.started = time.monotonic()
        self.deadline = self.started + options.timeout
        # What must be left of the time for paste, Enter and proof, or the paste is not begun.
        self.reserve = min(4.0, options.timeout / 2)
        self.visit: Visit | None = None
        self.settled = ""  # the buffer of a text whose fate is known
        self.outcome = Outcome("gone", "", host=server.runner.host)
        server.runner.deadline = self.deadline

    def run(self) -> Outcome:
        """Everything, with each failure as a verdict."""
        try:
            self._run()
        except (HostError, GoneError, TmuxError) as why:
            self._end("unproven" if self.typed else "gone", self._after(str(why)))
        except RefusedError as why:
            self._end("unproven" if self.typed else "refused", self._after(str(why)))
        except (DeferredError, ProfileError) as why:
            self._end("unproven" if self.typed else "deferred", self._after(str(why)))
        except TextError:
            raise
        except Exception as why:  # after the paste even our own bug must not read as "try it again"
            if not self.typed:
                raise
            self._end("unproven", self._after(f"this program failed: {type(why).__name__}"))
        self._step("end")
        self._whose()
        return self.outcome

    def _whose(self) -> None:
        """Which version of the agent it was, beside the one that its profile is true of."""
        if self.visit is None or self.visit.profile.composer is None:
            return
        self.outcome.measured = self.visit.profile.measured
        if isinstance(self.server.runner, LocalRunner):
            self.outcome.version = version_of(self.visit.agent.process, self.visit.profile.commands)

    @property
    def typed(self) -> bool:
        """Whether the message may have reached the pane."""
        return self.visit is not None and self.visit.typed

    def _after(self, why: str) -> str:
        return f"it was pasted, then {why}" if self.typed else why

    def _end(self, verdict: str, reason: str, proof: str = "") -> None:
        self.outcome.verdict, self.outcome.reason, self.outcome.proof = verdict, reason, proof

    def _step(self, name: str) -> None:
        self.outcome.timings[name] = round(time.monotonic() - self.started, 3)

    def _say(self, what: str) -> None:
        self.options.narrate(f"{time.monotonic() - self.started:6.2f} s  {what}")

    def _run(self) -> None:
        pane = self.pane or target.resolve(self.server, self.place, self.profiles)
        self.outcome.pane = pane.id
        self._step("resolved")
        self._say(f"{self.place} is pane {pane.id}")
        lock = PaneLock(self.server, pane)
        look = self._lock(lock)
        wishes = SendOptions(self.options.agent, self.options.allow_shell, self.options.retries)
        try:
            self.options.may_type()
            self.visit = Visit(self.server, pane, lock, self.profiles, wishes, self._say, look)
            self._deliver(self.visit)
        finally:
            try:
                lock.release(self.settled)
            except BusWatchError as why:
                self._say(f"the lock was not given back ({why}); it frees itself")

    def _lock(self, lock: PaneLock) -> Look:
        pause = 0.05
        while (look := lock.acquire(self.deadline - time.monotonic() + 5)) is None:
            if time.monotonic() + pause > self.deadline - self.reserve:
                raise DeferredError("another sender is typing into this pane")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.4)
        self._step("locked")
        return look

    def _deliver(self, visit: Visit) -> None:
        profile = visit.profile
        self.outcome.agent = profile.name
        self._say(f"agent {profile.name}, process {visit.agent.pid or 'on your word'}")
        if self.options.certain and profile.typing.dialog_safe != "yes":
            raise DeferredError(f"--certain: the {profile.name} profile does not say that late dialogs are safe")
        text = prepared(self.text, profile)
        note = PasteNote.of(text, f"{self.options.key}{visit.pane.id}" if self.options.key else "", visit.lock.now)
        try:
            pasted_text, was_busy, empty = self._paste(visit, text, note)
        except _DoneError as done:
            self._end(done.verdict.verdict, done.verdict.reason, done.verdict.proof)
            return
        pasted = time.monotonic()
        self._step("pasted")
        if profile.composer is None:
            time.sleep(profile.typing.pause)
            if not visit.lock.press(visit.agent.key, ""):
                raise RefusedError("the pane changed under it, so Enter was not pressed")
            self._step("entered")
            self._end("unproven", "pasted and entered on the caller's word, without looking")
            return
        what = Pasted(pasted_text, profile.composer, empty, pasted, said=text)
        try:
            verdict = visit.enter(what, was_busy=was_busy, until=self.deadline, step=self._step)
        except UnseenError as why:
            if not (why.steady and clearing.withdrawn(visit, note.at, self.deadline)):
                raise
            self.settled = note.buffer  # it would have held up the lane for ever: no later sender recognises it, either
            raise RefusedError(f"{why}; it was taken out of the input box again") from None
        self.outcome.timings["window"] = visit.window
        self._end(verdict.verdict, verdict.reason, verdict.proof)
        if verdict.verdict != "unproven":  # else whoever sends next sees whether it still stands there
            self.settled = note.buffer

    def _paste(self, visit: Visit, text: str, note: PasteNote) -> tuple[str, bool, Look]:
        """Wait until the agent is ready, and paste: what, whether it was busy, and the last look at the empty box."""
        look = visit.first
        while True:
            seen, look = self._ready(visit, note, look)
            visit.same_agent()
            if (old := PasteNote.read(look.note)) is not None:
                visit.lock.forget(old.buffer)  # the box is empty: whatever became of it, it is not there any more
            self._step("ready")
            whole = (visit.profile.typing.front_busy if seen is not None and seen.busy else "") + text
            noted = note.carrying(whole).value if seen is not None else ""
            visit.typed = True  # from here on a failure may have come after the paste
            try:
                sent = visit.lock.paste(whole.encode(), noted, visit.fence(seen, look))
            except UnsentError:
                visit.typed = False
                raise
            if sent:
                self._say(f"pasted while {seen.state if seen else 'not looking'}")
                return whole, seen is not None and seen.busy, look
            visit.typed = False
            self._say("the pane changed in the last moment; nothing was pasted")
            if time.monotonic() > self.deadline - self.reserve:
                raise DeferredError("the pane keeps changing")
            look = visit.alive()

    def _tidy(self, visit: Visit, look: Look, composer: Composer, note: PasteNote) -> bool:
        """Get text of ours out of the box that an earlier sender left there. False: there is none, it is a person's.

        Raises:
            _DoneError: it was this very message, and was submitted.
            DeferredError: it has to stay there for now.
        """
        left = clearing.found(visit, look)
        if left is None:
            return False
        self._say("the input box may hold what an earlier sender has left there")
        verdict = clearing.away(visit, left, composer, self.deadline - self.reserve)
        if verdict is None:
            return False
        self.outcome.leftover = f"{verdict.verdict}: {left.note.length} characters, noted as {left.note.id}"
        same = left.note.id == note.id or (not self.options.key and left.note.digest == note.digest)
        if same and verdict.verdict != "gone":
            raise _DoneError(Verdict(verdict.verdict, f"it stood in the input box; {verdict.reason}", verdict.proof))
        return True

    def _ready(self, visit: Visit, note: PasteNote, look: Look) -> tuple[screen.Judgement | None, Look]:
        """Wait until the box is empty and has been still; `look` is the first of the looks at it.

        Raises:
            DeferredError: it holds a draft, a dialog is open, it stays busy or unknown.
            _DoneError: the message stood in it already, or has been submitted by a later sender.
        """
        agent, typing = visit.agent, visit.profile.typing
        born = self.started - agent.process.age if agent.process else 0.0
        stillness = Stillness(time.monotonic())
        while True:
            if agent.profile.composer is None:
                return None, look
            if look.height < _ROWS and (agent.profile.composer.ruled or agent.profile.composer.frame is not None):
                raise DeferredError(f"a pane {look.height} high shows too little of the input box")
            if fate := fate_of(note, look.fates):
                raise _DoneError(Verdict(fate, "it was left in the input box, and a later sender submitted it"))
            now = time.monotonic()
            seen = screen.judge(look, agent.profile, age=now - born if born else 0.0)
            young = now - born < typing.young
            waits = seen.state == "busy" and (typing.busy == "wait" or self.options.when_idle)
            fit = seen.state in {"idle", "busy"} and not waits
            sign = (seen.state, seen.box and seen.box.draft, look.cursor_x, look.screen if young else "")
            if stillness.saw(seen.state, sign, now, fit=fit, young=young):
                self._say(f"{seen.state}: {seen.why}")
            missing = (typing.young_still if young else typing.still) - stillness.of_fit(now)
            if fit and missing <= 0:
                return seen, look
            in_time = now < self.deadline - self.reserve
            ours = stillness.settled(now) and not young and in_time and look.note != ""
            if ours and seen.state in {"draft", "unknown"} and self._tidy(visit, look, agent.profile.composer, note):
                stillness = Stillness(time.monotonic())
                look = visit.alive()
                continue
            if not in_time or (not young and stillness.bars(seen.state, now)):
                raise DeferredError(f"{seen.state}: {seen.why}")
            time.sleep(min(SLOWEST, missing) if fit else pace(now - stillness.began))
            look = visit.alive()
