"""One pane while it is ours: looking at it, pressing keys in it, and following a text from its Enter to a verdict.

Promises: nothing is pressed unless the pane is as it was at the look before, by a condition that tmux checks in the
same step. Enter is pressed only while our own text, and nothing else, is seen in the input box.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from worker.errors import BusWatchError
from worker.terminal import ours, screen, target
from worker.terminal.catalogue import Catalogue
from worker.terminal.pace import pace
from worker.terminal.places import Pane
from worker.terminal.profiles import Composer, Profile
from worker.terminal.proof import Entered, Prover, Verdict
from worker.terminal.runner import LocalRunner
from worker.terminal.target import Agent
from worker.terminal.tmux import GoneError, Look, PaneLock, RefusedError, Server, cursor_at
from worker.terminal.transcript import Watch, surroundings

# Seconds for which other words must stand beside ours: a UI that is just drawing a paste of several lines shows parts
# of it and what stood there before (gemini 0.61, busy, 1 of 12).
_MIXED = 0.4


_STEADY = 2.0  # seconds for which a box that does not show our text must not change, to be ours all the same


class UnseenError(RefusedError):
    """Our text is not recognised in the box, so Enter was not pressed.

    `steady`: what stands there came with our paste, as far as can be seen, and has not changed since.
    """

    def __init__(self, why: str, *, steady: bool) -> None:
        super().__init__(why)
        self.steady = steady


class DeferredError(BusWatchError):
    """Nothing was typed, and later it may be possible."""

    code = "deferred"
    exit_status = 75


class Pasted(Struct, frozen=True):
    """What was pasted into which box, and the pane as it was before."""

    text: str
    composer: Composer
    empty: Look
    at: float
    """On the monotonic clock."""
    said: str
    """What the agent takes for the message: without what was put in front while it was busy."""


class SendOptions(Struct, frozen=True):
    """What the caller says about who is in the pane, and how often Enter may be repeated."""

    agent: str
    allow_shell: bool
    retries: int


class Visit:
    """A pane whose lock is ours."""

    def __init__(
        self,
        server: Server,
        pane: Pane,
        lock: PaneLock,
        profiles: Catalogue,
        wishes: SendOptions,
        say: Callable[[str], None],
        first: Look,
    ) -> None:
        """Look who is there; `first` is the pane as it was when the lock was taken.

        Raises:
            GoneError, RefusedError: nobody who may be typed to.
            ProfileError: their profile cannot be used.
        """
        self.server, self.pane, self.lock, self.say = server, pane, lock, say
        self._profiles, self._wishes = profiles, wishes
        self.typed = False
        """Whether our own message may have reached the pane."""
        self.window = 0.0
        """Seconds that passed at most between the last look and Enter."""
        self.first = self._fit(first)
        self.agent = self._identify()

    @property
    def profile(self) -> Profile:
        """The agent's."""
        return self.agent.profile

    def _identify(self) -> Agent:
        wishes = self._wishes
        return target.identify(
            self.server, self.pane, self._profiles, chosen=wishes.agent, allow_shell=wishes.allow_shell
        )

    def same_agent(self) -> None:
        """Raises RefusedError if the pane's foreground is no longer what it was."""
        now = self._identify()
        if (now.profile.name, now.pid) != (self.profile.name, self.agent.pid):
            raise RefusedError("another program has come to the foreground")

    def alive(self) -> Look:
        """A look at the pane, if it can be typed into at all."""
        return self._fit(self.server.look(self.pane.id))

    def _fit(self, look: Look) -> Look:
        """`look`, or another one once the pane has left its mode."""
        if look.dead:
            raise GoneError(f"the program in pane {self.pane.id} has ended (dead pane)")
        if look.pid != self.pane.pid:
            raise GoneError(f"pane {self.pane.id} has been given another program")
        if look.in_mode:
            self.say("leaving copy-mode, or whatever mode of tmux's the pane is in")
            self.server.leave_mode(self.pane.id)
            look = self.server.look(self.pane.id)
            if look.in_mode and not self.typed:
                raise DeferredError("the pane does not leave tmux's mode that it is in")
        if look.input_off or look.synchronized:
            why = (
                "takes no input (select-pane -d)" if look.input_off else "copies its keys to others (synchronize-panes)"
            )
            raise RefusedError(f"pane {self.pane.id} {why}")
        return look

    def press(self, keys: str, seen: screen.Judgement, look: Look) -> bool:
        """Press keys if the pane is as it was seen. False: it is not, and nothing was pressed."""
        return self.lock.press(keys, self.fence(seen, look))

    def fence(self, seen: screen.Judgement | None, look: Look) -> str:
        """Where the cursor must still be when the paste or a key comes, or somebody has typed since the last look."""
        composer = self.profile.composer
        if seen is None or composer is None or composer.cursor == "drawn":
            return ""
        return cursor_at(look, row=not seen.busy)  # output above the box moves it up and down

    def enter(self, what: Pasted, *, was_busy: bool, until: float, step: Callable[[str], None]) -> Verdict:
        """Press Enter once our text is seen in the box, and say what became of it.

        Args:
            what: the text; it has been pasted.
            was_busy: whether the agent was busy then.
            until: when to give up, on the monotonic clock.
            step: is told when something is done.

        Raises:
            RefusedError: Enter was not pressed, for the text is not seen, or not alone.
        """
        watch: Watch | None = None
        patience = until - (until - time.monotonic()) / 4
        while True:
            self._see(what, patience)
            step("seen")
            self.same_agent()
            watch = watch or self._watch(what.said)
            began = time.monotonic()
            look = self.alive()  # all that takes time is done: this look is the last thing before the key
            seen = screen.judge(look, self.profile)
            keys = self.agent.submits(busy=was_busy or seen.busy)
            if self._told(what, look, seen) not in {"", "mixed"} and self.press(keys, seen, look):
                self.window = round(time.monotonic() - began, 4)
                break
            self.say("the pane changed in the last moment; looking again")
            if time.monotonic() > patience:
                raise RefusedError("the pane keeps changing, so Enter was not pressed")
        step("entered")
        self.say(f"pressed {keys}")
        # On a screen that lags, our text is seen after it has been taken; there Enter must not do harm to an empty box.
        retries = self._wishes.retries if self.profile.typing.again == "yes" else 0
        entered = Entered(what.text, self.profile, what.composer, was_busy, watch, what.said, what.empty)
        return Prover(entered, self.alive, self._again, retries=retries, deadline=until - 0.3).run()

    def _again(self, seen: screen.Judgement, look: Look) -> bool:
        self.same_agent()
        keys = self.agent.submits(busy=seen.busy)
        self.say(f"our text is still in the input box: {keys} again")
        return self.press(keys, seen, look)

    def _see(self, what: Pasted, patience: float) -> None:
        """Wait until our own text, and nothing else, is seen in the input box.

        Raises:
            RefusedError: other words stand with it; Enter must not be pressed.
            UnseenError: it is not seen at all.
        """
        pause = self.profile.typing.pause
        limit = max(what.at + pause, patience)
        alone = drawn_since = time.monotonic()
        drawn = ""
        while True:
            look = self.alive()
            seen = screen.judge(look, self.profile)
            told = self._told(what, look, seen)
            now = time.monotonic()
            shown = seen.box.draft if seen.box is not None and seen.state == "draft" else ""
            if shown != drawn:
                drawn, drawn_since = shown, now
            if told != "mixed":
                alone = now
            elif now - alone > _MIXED:
                raise RefusedError("other words stand in the input box with ours, so Enter was not pressed")
            left = what.at + pause - now
            if told and left <= 0:
                self.say(f"our text is in the input box ({told})")
                return
            if now > limit:
                break
            time.sleep(left if told and left > 0 else pace(now - what.at))
        why = seen.why if seen.state == "dialog" else f"our text was not seen in the input box ({seen.state})"
        steady = drawn != "" and now - drawn_since >= _STEADY
        raise UnseenError(f"{why}, so Enter was not pressed", steady=steady)

    @staticmethod
    def _told(what: Pasted, look: Look, seen: screen.Judgement) -> str:
        return ours.ours_on(look, seen, what.text, what.composer, what.empty)

    def _watch(self, text: str) -> Watch | None:
        record, agent = self.profile.record, self.agent
        if record is None or agent.process is None or not isinstance(self.server.runner, LocalRunner):
            return None
        return Watch(record, surroundings(agent.pid, self._directory), text)

    def _directory(self) -> str:
        """The directory of whoever is in the pane, as tmux knows it."""
        asked = self.server.call("display-message", "-p", "-t", self.pane.id, "#{pane_current_path}")
        return asked.rstrip("\n")
