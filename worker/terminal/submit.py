"""Submitting one message to one pane, and proving it: the state machine, the same for local and remote panes.

Lock, pane alive, foreground known, screen idle and still, paste in brackets, see our own text in the input
box, look again, Enter on its own, proof. Whatever is not recognised before the paste means that nothing is
typed. After it, text is never pasted again: Enter is repeated only while our own text is seen in the input
box.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.errors import BusWatchError
from worker.terminal import ours, screen, target
from worker.terminal.catalogue import Catalogue
from worker.terminal.profiles import Composer, Profile, ProfileError
from worker.terminal.proof import GLANCE, Entered, Prover
from worker.terminal.runner import HostError, LocalRunner
from worker.terminal.target import Agent
from worker.terminal.text import MAX_BYTES, guard, sanitise
from worker.terminal.tmux import GoneError, Look, Pane, PaneLock, RefusedError, Server, TmuxError, cursor_at
from worker.terminal.transcript import Watch, surroundings

EXIT_STATUS = {"submitted": 0, "queued": 0, "deferred": 75, "unproven": 76, "gone": 69, "refused": 69}

_PATIENCE = 2.0  # seconds for which a screen may stay unknown before the message is deferred


class TextError(BusWatchError):
    """The text cannot be sent to any terminal."""

    code = "text"
    exit_status = 65


class _DeferredError(BusWatchError):
    """Nothing was typed, and later it may be possible."""

    code = "deferred"
    exit_status = 75


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller wants."""

    agent: str = ""
    """A profile's name; empty: found from the pane."""
    allow_shell: bool = False
    when_idle: bool = False
    retries: int = 3
    """How often Enter is repeated at most."""
    timeout: float = 15.0
    """Seconds for everything."""
    narrate: Callable[[str], None] = lambda _: None


@dataclass(slots=True)
class Outcome:
    """What became of a message."""

    verdict: str
    reason: str
    agent: str = ""
    pane: str = ""
    proof: str = ""
    host: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds from the start at which each step was done."""

    @property
    def exit_status(self) -> int:
        """See EXIT_STATUS."""
        return EXIT_STATUS[self.verdict]


def submit(server: Server, place: str, message: str, options: Options, profiles: Catalogue) -> Outcome:
    """Submit `message` to the pane that `place` means, and say what became of it. Keeps the time-out.

    Raises:
        TextError: there is nothing to send, or too much.
    """
    text = sanitise(message)
    if not text.strip():
        raise TextError("the text is empty: there is nothing to send")
    if len(text.encode()) > MAX_BYTES:
        raise TextError(f"the text has more than {MAX_BYTES} bytes: send a file's name instead")
    return _Submission(server, place, text, options, profiles).run()


@dataclass(frozen=True, slots=True)
class Pasted:
    """What was pasted into which box, and the pane as it was before."""

    text: str
    composer: Composer
    empty: Look


class _Submission:
    """One message on its way."""

    def __init__(self, server: Server, place: str, text: str, options: Options, profiles: Catalogue) -> None:
        self.server, self.place, self.text = server, place, text
        self.options, self.profiles = options, profiles
        self.started = time.monotonic()
        self.deadline = self.started + options.timeout
        # What must be left of the time for paste, Enter and proof, or the paste is not begun.
        self.reserve = min(4.0, options.timeout / 2)
        self.typed = False
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
        except (_DeferredError, ProfileError) as why:
            self._end("deferred", str(why))
        except TextError:
            raise
        except Exception as why:  # after the paste even our own bug must not read as "try it again"
            if not self.typed:
                raise
            self._end("unproven", self._after(f"this program failed: {type(why).__name__}"))
        self._step("end")
        return self.outcome

    def _after(self, why: str) -> str:
        return f"it was pasted, then {why}" if self.typed else why

    def _end(self, verdict: str, reason: str, proof: str = "") -> None:
        self.outcome.verdict, self.outcome.reason, self.outcome.proof = verdict, reason, proof

    def _step(self, name: str) -> None:
        self.outcome.timings[name] = round(time.monotonic() - self.started, 3)

    def _say(self, what: str) -> None:
        self.options.narrate(f"{time.monotonic() - self.started:6.2f} s  {what}")

    def _run(self) -> None:
        pane = target.resolve(self.server, self.place, self.profiles)
        self.outcome.pane = pane.id
        self._step("resolved")
        self._say(f"{self.place} is pane {pane.id}")
        lock = PaneLock(self.server, pane)
        self._lock(lock)
        try:
            self._deliver(pane, lock)
        finally:
            try:
                lock.release()
            except BusWatchError as why:
                self._say(f"the lock was not given back ({why}); it frees itself")

    def _lock(self, lock: PaneLock) -> None:
        pause = 0.05
        while not lock.acquire(self.deadline - time.monotonic() + 5):
            if time.monotonic() + pause > self.deadline - self.reserve:
                raise _DeferredError("another sender is typing into this pane")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.4)
        self._step("locked")

    def _identify(self, tty: str) -> Agent:
        return target.identify(
            self.server,
            tty,
            self.profiles,
            chosen=self.options.agent,
            allow_shell=self.options.allow_shell,
        )

    def _deliver(self, pane: Pane, lock: PaneLock) -> None:
        agent = self._identify(self._alive(pane).tty)
        self.outcome.agent = agent.profile.name
        self._say(f"agent {agent.profile.name}, process {agent.pid or 'on your word'}")
        text = self._prepare(agent.profile)
        was_busy, empty = self._paste(pane, lock, agent, text)
        pasted = time.monotonic()
        self._step("pasted")
        composer = agent.profile.composer
        if composer is None:
            time.sleep(agent.profile.typing.pause)
            if not lock.press(agent.key, ""):
                raise RefusedError("the pane changed under it, so Enter was not pressed")
            self._step("entered")
            self._end("unproven", "pasted and entered on the caller's word, without looking")
            return
        watch = None
        while True:
            seen, look = self._see_draft(pane, agent.profile, Pasted(text, composer, empty), pasted)
            self._same_agent(pane, agent)
            watch = watch or self._watch(pane, agent, text)
            keys = agent.submits(busy=was_busy or seen.busy)
            if lock.press(keys, self._fence(agent.profile, seen, look)):
                break
            self._say("the pane changed in the last moment; looking again")
            if time.monotonic() > self.deadline - self.reserve / 2:
                raise RefusedError("the pane keeps changing, so Enter was not pressed")
        self._step("entered")
        self._say(f"pressed {keys}")

        def press(seen: screen.Judgement, look: Look) -> bool:
            self._same_agent(pane, agent)
            again = agent.submits(busy=seen.busy)
            self._say(f"our text is still in the input box: {again} again")
            return lock.press(again, self._fence(agent.profile, seen, look))

        prover = Prover(
            Entered(text, agent.profile, composer, was_busy, watch, empty),
            lambda: self._alive(pane),
            press,
            retries=self.options.retries,
            deadline=self.deadline - 0.3,
        )
        verdict = prover.run()
        self._end(verdict.verdict, verdict.reason, verdict.proof)

    def _prepare(self, profile: Profile) -> str:
        text = self.text
        if profile.typing.tabs:
            text = text.replace("\t", " " * profile.typing.tabs)
        if profile.typing.max_chars and len(text) > profile.typing.max_chars:
            raise TextError(f"the text has {len(text)} characters; {profile.name} takes {profile.typing.max_chars}")
        return guard(text, profile.typing.leading, profile.typing.trailing)

    def _alive(self, pane: Pane) -> Look:
        """A look at the pane, if it can be typed into at all."""
        look = self.server.look(pane.id)
        if look.dead:
            raise GoneError(f"the program in pane {pane.id} has ended (dead pane)")
        if look.pid != pane.pid:
            raise GoneError(f"pane {pane.id} has been given another program")
        if look.in_mode:
            self._say("leaving copy-mode")
            self.server.leave_mode(pane.id)
            look = self.server.look(pane.id)
            if look.in_mode and not self.typed:
                raise _DeferredError("the pane does not leave copy-mode")
        if look.input_off or look.synchronized:
            why = (
                "takes no input (select-pane -d)" if look.input_off else "copies its keys to others (synchronize-panes)"
            )
            raise RefusedError(f"pane {pane.id} {why}")
        return look

    def _paste(self, pane: Pane, lock: PaneLock, agent: Agent, text: str) -> tuple[bool, Look]:
        """Wait until the agent is ready, and paste; whether it was busy then, and the last look at the empty box."""
        while True:
            seen, look = self._ready(pane, agent)
            self._same_agent(pane, agent)
            buffer = lock.load(text.encode())
            self._step("ready")
            self.typed = True  # from here on a failure may have come after the paste
            if lock.paste(buffer, self._fence(agent.profile, seen, look)):
                self._say(f"pasted while {seen.state if seen else 'not looking'}")
                return seen is not None and seen.busy, look
            self.typed = False
            lock.unload(buffer)
            self._say("the pane changed in the last moment; nothing was pasted")
            if time.monotonic() > self.deadline - self.reserve:
                raise _DeferredError("the pane keeps changing")

    def _ready(self, pane: Pane, agent: Agent) -> tuple[screen.Judgement | None, Look]:
        """Wait until the box is empty and has been still.

        Raises:
            _DeferredError: it holds a draft, a dialog is open, it stays busy or unknown.
        """
        typing = agent.profile.typing
        born = self.started - agent.process.age if agent.process else 0.0
        began = since = time.monotonic()
        last: object = None
        while True:
            look = self._alive(pane)
            if agent.profile.composer is None:
                return None, look
            now = time.monotonic()
            seen = screen.judge(look, agent.profile, age=now - born if born else 0.0)
            young = now - born < typing.young
            sign = (seen.state, seen.box and seen.box.draft, look.cursor_x, look.screen if young else "")
            if sign != last:
                last, since = sign, now
                self._say(f"{seen.state}: {seen.why}")
            still = now - since >= (typing.young_still if young else typing.still)
            waits = seen.state == "busy" and (typing.busy == "wait" or self.options.when_idle)
            if seen.state in {"idle", "busy"} and not waits and still:
                return seen, look
            settled = still and not young
            lost = settled and seen.state == "unknown" and now - began > _PATIENCE
            barred = settled and seen.state in {"draft", "dialog"}
            if lost or barred or now > self.deadline - self.reserve:
                raise _DeferredError(f"{seen.state}: {seen.why}")
            time.sleep(GLANCE)

    @staticmethod
    def _fence(profile: Profile, seen: screen.Judgement | None, look: Look) -> str:
        """Where the cursor must still be when the paste or Enter comes, or somebody has typed since the last look."""
        if seen is None or profile.composer is None or profile.composer.cursor != "prompt":
            return ""
        return cursor_at(look, row=not seen.busy)  # output above the box moves it up and down

    def _same_agent(self, pane: Pane, agent: Agent) -> None:
        """Raises RefusedError if the pane's foreground is no longer what it was."""
        now = self._identify(pane.tty)
        if (now.profile.name, now.pid) != (agent.profile.name, agent.pid):
            raise RefusedError("another program has come to the foreground")

    def _see_draft(self, pane: Pane, profile: Profile, what: Pasted, pasted: float) -> tuple[screen.Judgement, Look]:
        """Wait until our own text, and nothing else, is seen in the input box; what was seen then.

        Raises:
            RefusedError: it is not; Enter must not be pressed.
        """
        limit = max(pasted + profile.typing.pause, self.deadline - self.reserve / 2)
        while True:
            look = self._alive(pane)
            seen = screen.judge(look, profile)
            told = ours.ours_on(look, seen, what.text, what.composer, what.empty)
            now = time.monotonic()
            if told == "mixed":
                raise RefusedError("other words stand in the input box with ours, so Enter was not pressed")
            if told and now - pasted >= profile.typing.pause:
                self._step("seen")
                self._say(f"our text is in the input box ({told})")
                return seen, look
            if now > limit:
                break
            time.sleep(min(GLANCE, max(0.02, pasted + profile.typing.pause - now)))
        why = seen.why if seen.state == "dialog" else f"our text was not seen in the input box ({seen.state})"
        raise RefusedError(f"{why}, so Enter was not pressed")

    def _watch(self, pane: Pane, agent: Agent, text: str) -> Watch | None:
        profile = agent.profile
        if profile.record is None or agent.process is None or not isinstance(self.server.runner, LocalRunner):
            return None
        asked = self.server.call("display-message", "-p", "-t", pane.id, "#{pane_current_path}")
        return Watch(profile.record, surroundings(agent.pid, asked.rstrip("\n")), text)
