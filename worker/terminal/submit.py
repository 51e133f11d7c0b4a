"""Submitting one message to one pane, and proving it: the state machine, the same for local and remote panes.

Lock, pane alive, foreground known, screen idle and still, paste in brackets, see our own text in the input box, look
again, Enter on its own, proof. Whatever is not recognised before the paste means that nothing is typed. After it,
text is never pasted again: Enter is repeated only while our own text is seen in the input box.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.errors import BusWatchError
from worker.terminal import processes, record, screen
from worker.terminal.processes import Process
from worker.terminal.profiles import Profile
from worker.terminal.runner import HostError, LocalRunner
from worker.terminal.text import MAX_BYTES, guard, sanitise, squeeze
from worker.terminal.tmux import Gone, Hold, Look, Pane, Refused, Server, TmuxError, describe

EXIT_STATUS = {"submitted": 0, "queued": 0, "held": 75, "unproven": 76, "gone": 69, "refused": 69}

_GLANCE = 0.12  # seconds between two looks at a pane
_PATIENCE = 2.0  # seconds for which a screen may stay unknown before the message is held
_SETTLED = 1.0  # seconds for which an emptied input box is proof without the text being seen above it


class TextError(BusWatchError):
    """The text cannot be sent to any terminal."""

    code = "text"
    exit_status = 65


class _Held(BusWatchError):
    """Nothing was typed, and later it may be possible."""

    code = "held"
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


def submit(
    server: Server, target: str, message: str, options: Options, profiles: Mapping[str, Profile]
) -> Outcome:
    """Submit `message` to the pane that `target` means, and say what became of it. Returns within the time-out.

    Raises:
        TextError: there is nothing to send, or too much.
    """
    text = sanitise(message)
    if not text.strip():
        raise TextError("the text is empty: there is nothing to send")
    if len(text.encode()) > MAX_BYTES:
        raise TextError(f"the text has more than {MAX_BYTES} bytes: send a file's name instead")
    return _Submission(server, target, text, options, profiles).run()


class _Submission:
    """One message on its way."""

    def __init__(
        self, server: Server, target: str, text: str, options: Options, profiles: Mapping[str, Profile]
    ) -> None:
        self.server, self.target, self.text = server, target, text
        self.options, self.profiles = options, profiles
        self.started = time.monotonic()
        self.deadline = self.started + options.timeout
        # What must be left of the time for paste, Enter and proof, or the paste is not begun.
        self.reserve = min(4.0, options.timeout / 2)
        self.typed = False
        self.outcome = Outcome("gone", "", host=server.runner.host)

    def run(self) -> Outcome:
        """Everything, with each failure as a verdict."""
        try:
            self._run()
        except (HostError, Gone, TmuxError) as why:
            self._end("unproven" if self.typed else "gone", self._after(str(why)))
        except Refused as why:
            self._end("unproven" if self.typed else "refused", self._after(str(why)))
        except _Held as why:
            self._end("held", str(why))
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
        pane = self._resolve()
        self.outcome.pane = pane.id
        hold = Hold(self.server, pane)
        self._lock(hold)
        try:
            self._deliver(pane, hold)
        finally:
            try:
                hold.release()
            except BusWatchError as why:
                self._say(f"the lock was not given back ({why}); it frees itself")

    # -- who is there ---------------------------------------------------------------------------------------------

    def _resolve(self) -> Pane:
        found = self.server.candidates(self.target)
        if len(found) > 1:
            known = [one for one in found if not one.dead and self._known(one.tty)]
            if len(known) != 1:
                reason = "no pane of it runs" if not known else "several panes of it run"
                raise Refused(
                    f"{self.target!r}: {reason} a known agent; give one pane's id: {describe(found)}"
                )
            found = known
        self._step("resolved")
        self._say(f"{self.target} is pane {describe(found)}")
        return found[0]

    def _known(self, tty: str) -> bool:
        group = processes.foreground(self.server.runner, tty)
        return any(processes.match(group, one) for one in self.profiles.values())

    def _lock(self, hold: Hold) -> None:
        pause = 0.05
        while not hold.acquire(self.deadline - time.monotonic() + 5):
            if time.monotonic() + pause > self.deadline - self.reserve:
                raise _Held("another sender is typing into this pane")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.4)
        self._step("locked")

    def _identify(self, tty: str) -> tuple[Profile, Process | None, str]:
        """The profile to go by, the agent's process, and the key for Enter.

        Raises:
            Refused: what runs in the foreground is not to be typed into.
        """
        group = processes.foreground(self.server.runner, tty)
        shown = ", ".join(sorted({one.name for one in group}))
        if not group:
            raise Refused("the pane's foreground process cannot be found out, so nothing is typed")
        generic = self.profiles["generic"]
        if processes.only_shells(group):
            if self.options.allow_shell and self.options.agent in {"", "generic"}:
                return generic, None, generic.typing.enter
            hint = "; --allow-shell types into it all the same" if not self.options.allow_shell else ""
            raise Refused(f"the pane runs a shell ({shown}){hint}")
        carried = processes.carrier(group)
        if self.options.agent:
            chosen = self.profiles[self.options.agent]
            agent = processes.match(group, chosen) or (group[0] if chosen.composer is None else None)
            return chosen, agent, "C-m" if carried else chosen.typing.enter
        for one in self.profiles.values():
            agent = processes.match(group, one)
            if agent is not None:
                return one, agent, one.typing.enter
        if carried:
            raise Refused(f"the pane runs {carried}")
        raise Refused(
            f"the pane runs {shown}, which no profile knows; --agent NAME says which one fits, --agent generic types blindly"
        )

    # -- the steps ------------------------------------------------------------------------------------------------

    def _deliver(self, pane: Pane, hold: Hold) -> None:
        look = self._alive(pane)
        profile, agent, key = self._identify(look.tty)
        self.outcome.agent = profile.name
        self._say(f"agent {profile.name}, process {agent.pid if agent else 'unknown'}")
        text = self._prepare(profile)
        before = self._paste(pane, hold, profile, agent, text)
        pasted = time.monotonic()
        self._step("pasted")
        if profile.composer is None:
            self._blind(hold, profile, key)
            return
        self._see_draft(pane, profile, text, pasted)
        self._same_agent(look.tty, profile, agent)
        watch = self._watch(profile, agent, pane, text)
        if not hold.press(key):
            self._end("unproven", "it was pasted, then the pane changed under it, so Enter was not pressed")
            return
        self._step("entered")
        self._say("Enter")
        self._prove(pane, hold, profile, _Sent(text, key, look.tty, agent, watch, before))

    def _prepare(self, profile: Profile) -> str:
        text = self.text
        if profile.typing.tabs:
            text = text.replace("\t", " " * profile.typing.tabs)
        if profile.typing.max_chars and len(text) > profile.typing.max_chars:
            raise TextError(
                f"the text has {len(text)} characters; {profile.name} takes {profile.typing.max_chars}"
            )
        return guard(text, profile.typing.leading, profile.typing.trailing)

    def _alive(self, pane: Pane) -> Look:
        """A look at the pane, if it can be typed into at all."""
        look = self.server.look(pane.id)
        if look.dead:
            raise Gone(f"the program in pane {pane.id} has ended (dead pane)")
        if look.pid != pane.pid:
            raise Gone(f"pane {pane.id} has been given another program")
        if look.in_mode:
            self._say("leaving copy-mode")
            self.server.leave_mode(pane.id)
            look = self.server.look(pane.id)
            if look.in_mode and not self.typed:
                raise _Held("the pane does not leave copy-mode")
        if look.input_off or look.synchronized:
            why = (
                "takes no input (select-pane -d)"
                if look.input_off
                else "copies its keys to others (synchronize-panes)"
            )
            raise Refused(f"pane {pane.id} {why}")
        return look

    def _paste(
        self, pane: Pane, hold: Hold, profile: Profile, agent: Process | None, text: str
    ) -> screen.Seen | None:
        """Wait until the agent is ready, and paste; what the screen meant just before."""
        while True:
            seen, look = self._ready(pane, profile, agent)
            self._same_agent(look.tty, profile, agent)
            cursor = None
            if (
                seen is not None
                and seen.state == "idle"
                and profile.composer
                and profile.composer.cursor == "prompt"
            ):
                cursor = (look.cursor_x, look.cursor_y)
            self._step("ready")
            buffer = hold.load(text.encode())
            self.typed = True  # from here on a failure may have come after the paste
            if hold.paste(buffer, cursor):
                self._say(f"pasted while {seen.state if seen else 'not looking'}")
                return seen
            self.typed = False
            hold.unload(buffer)
            self._say("the pane changed in the last moment; nothing was pasted")
            if time.monotonic() > self.deadline - self.reserve:
                raise _Held("the pane keeps changing")

    def _ready(self, pane: Pane, profile: Profile, agent: Process | None) -> tuple[screen.Seen | None, Look]:
        """Wait until the box is empty and has been still.

        Raises:
            _Held: it holds a draft, a dialog is open, it stays busy or unknown.
        """
        typing = profile.typing
        began = since = time.monotonic()
        last: object = None
        while True:
            look = self._alive(pane)
            if profile.composer is None:
                return None, look
            seen = screen.judge(look, profile)
            young = agent is not None and agent.age + time.monotonic() - self.started < typing.young
            now = time.monotonic()
            sign = (
                seen.state,
                seen.box.draft if seen.box else None,
                look.cursor_x,
                look.screen if young else "",
            )
            if sign != last:
                last, since = sign, now
                self._say(f"{seen.state}: {seen.why}")
            still = now - since >= (typing.young_still if young else typing.still)
            waits = seen.state == "busy" and (typing.busy == "wait" or self.options.when_idle)
            if seen.state in {"idle", "busy"} and not waits and still:
                return seen, look
            late = now > self.deadline - self.reserve
            if late or (still and seen.state in {"draft", "dialog"} and not young):
                raise _Held(f"{seen.state}: {seen.why}")
            if (
                seen.state == "unknown"
                and not young
                and now - began > _PATIENCE
                and now - since > typing.still
            ):
                raise _Held(f"unknown: {seen.why}")
            time.sleep(_GLANCE)

    def _same_agent(self, tty: str, profile: Profile, agent: Process | None) -> None:
        """Raises Refused if the pane's foreground is no longer what it was."""
        found, now, _ = self._identify(tty)
        if found.name != profile.name or (now and now.pid) != (agent and agent.pid):
            raise Refused("another program has come to the foreground")

    def _blind(self, hold: Hold, profile: Profile, key: str) -> None:
        time.sleep(profile.typing.pause)
        if hold.press(key):
            self._step("entered")
            self._end("unproven", "pasted and entered on the caller's word, without looking")
        else:
            self._end("unproven", "it was pasted, then the pane changed under it, so Enter was not pressed")

    def _see_draft(self, pane: Pane, profile: Profile, text: str, pasted: float) -> None:
        """Wait until our own text, and nothing else, is seen in the input box.

        Raises:
            Refused: it is not; Enter must not be pressed.
        """
        how = profile.composer
        if how is None:
            return
        limit = max(pasted + profile.typing.pause, self.deadline - self.reserve / 2)
        seen, ours = None, ""
        while True:
            seen = screen.judge(self._alive(pane), profile)
            ours = screen.holds_ours(seen.box.draft, text, how) if seen.box and seen.state != "dialog" else ""
            now = time.monotonic()
            if ours == "mixed":
                raise Refused("other words stand in the input box with ours, so Enter was not pressed")
            if ours and now - pasted >= profile.typing.pause:
                self._step("seen")
                self._say(f"our text is in the input box ({ours})")
                return
            if now > limit:
                break
            time.sleep(min(_GLANCE, max(0.02, pasted + profile.typing.pause - now)))
        if seen.state == "dialog":
            raise Refused(f"{seen.why}, so Enter was not pressed")
        raise Refused(f"our text was not seen in the input box ({seen.state}), so Enter was not pressed")

    def _watch(self, profile: Profile, agent: Process | None, pane: Pane, text: str) -> record.Watch | None:
        if profile.record is None or agent is None or not isinstance(self.server.runner, LocalRunner):
            return None
        directory = self.server.call("display-message", "-p", "-t", pane.id, "#{pane_current_path}").rstrip(
            "\n"
        )
        return record.Watch(profile.record, record.surroundings(agent.pid, directory), text)

    # -- the proof ------------------------------------------------------------------------------------------------

    def _prove(self, pane: Pane, hold: Hold, profile: Profile, sent: "_Sent") -> None:
        """Look until there is proof, repeating Enter while our own text is still in the box."""
        how = profile.composer
        if how is None:
            return
        entered = time.monotonic()
        gap = max(0.8, 2 * profile.typing.pause)
        again, presses, emptied = entered + gap, 1, 0.0
        record_wait = 0.0
        if sent.watch and profile.record:
            record_wait = profile.record.wait if sent.watch.available else min(profile.record.wait, 1.5)
        last = "nothing was seen"
        while time.monotonic() < self.deadline - 0.3:
            if sent.watch and (proof := sent.watch.look()) is not None:
                self._end(proof.verdict, "the agent's own record has it", proof=f"record {proof.path}")
                return
            look = self._alive(pane)
            seen = screen.judge(look, profile)
            ours = screen.holds_ours(seen.box.draft, sent.text, how) if seen.box else ""
            now = time.monotonic()
            last = seen.why
            if seen.state == "dialog":
                emptied = 0.0
            elif ours:
                emptied, last = 0.0, f"our text is still in the input box after {presses} Enter"
                if now >= again and presses <= self.options.retries:
                    self._same_agent(sent.tty, profile, sent.agent)
                    if hold.press(sent.key):
                        presses += 1
                        gap *= 2
                        again = now + gap
                        self._say("our text is still in the input box: Enter again")
            elif seen.state in {"idle", "busy", "draft"}:
                emptied = emptied or now
                shown = self._shown(seen, sent)
                long_enough = now - emptied >= (_GLANCE if shown else _SETTLED)
                if long_enough and now - entered >= record_wait:
                    self._proven_by_screen(seen, sent, shown)
                    return
            time.sleep(_GLANCE)
        if emptied:
            self._proven_by_screen(seen, sent, shown=self._shown(seen, sent))
            return
        if sent.watch and sent.watch.mixed:
            last = "the agent's record has it mixed with other words"
        self._end("unproven", f"Enter was pressed, but there is no proof: {last}")

    @staticmethod
    def _shown(seen: screen.Seen, sent: "_Sent") -> bool:
        """Whether the screen shows what became of the text: itself above the box, a queue, or work that began."""
        words = squeeze(sent.text)
        above = words[:20] in seen.outside or words[-20:] in seen.outside
        began = seen.busy and sent.before is not None and not sent.before.busy
        return above or seen.queued or began

    def _proven_by_screen(self, seen: screen.Seen, sent: "_Sent", shown: bool) -> None:
        busy = sent.before is not None and sent.before.busy
        verdict = "queued" if seen.queued or busy else "submitted"
        how = "shows the text or work on it" if shown else "shows an empty input box"
        self._end(verdict, f"our text left the input box, and the screen {how}", proof="screen")


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was entered, and what it takes to follow it."""

    text: str
    key: str
    tty: str
    agent: Process | None
    watch: record.Watch | None
    before: screen.Seen | None
