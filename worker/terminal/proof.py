"""After Enter: what became of our text. The agent's own record says it best, else the screen.

Enter is repeated only while our own text is seen in the input box; text is never pasted again.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from worker.terminal import ours, screen
from worker.terminal.pace import SLOWEST, pace
from worker.terminal.profiles import Composer, Profile
from worker.terminal.text import is_command, squeeze
from worker.terminal.tmux import Look
from worker.terminal.transcript import Watch

_SHOWN = 0.08  # seconds for which an emptied box must stay so, if the text, or work on it, is seen outside it
_SETTLED = 1.0  # seconds for which an emptied box must stay so, if the text is not seen above it
_FAILING = 5.0  # seconds to wait for the next error of an agent whose last prompt met one
_GLIMPSED = 0.3  # seconds for which a box that was seen empty may be out of sight: a UI that draws for ever
_NO_RECORD = 1.5  # seconds to wait for a record of which there is no file yet


class Verdict(Struct, frozen=True):
    """`submitted`, `queued`, `unproven`, `refused` (not woken by it) or `gone`, why, and what proves it."""

    verdict: str
    reason: str
    proof: str = ""


class Entered(Struct, frozen=True):
    """What was entered into what."""

    text: str
    profile: Profile
    composer: Composer
    was_busy: bool
    """Whether the agent was busy when the text was pasted."""
    watch: Watch | None
    """The agent's record, if it can be read from here."""
    said: str = ""
    """The text without what was put in front of it while the agent was busy; empty: it is `text`."""
    empty: Look | None = None
    """The pane when its box was last seen empty, before the paste."""


class Prover:
    """Follows one text from its Enter to a verdict."""

    def __init__(
        self,
        entered: Entered,
        look: Callable[[], Look],
        press: Callable[[screen.Judgement, Look], bool],
        *,
        retries: int,
        deadline: float,
    ) -> None:
        """`look` sees the pane, `press` repeats Enter if it is as seen, `deadline` is monotonic time."""
        self._entered, self._look, self._press = entered, look, press
        self._retries, self._deadline = retries, deadline
        self._began = time.monotonic()
        self._gap = max(0.8, 2 * entered.profile.typing.pause)
        self._again = self._began + self._gap
        self._presses = 1
        self._emptied = 0.0
        self._empty_at = 0.0
        self._last = "nothing was seen"

    def run(self) -> Verdict:
        """Look until there is proof or the time is up."""
        on_screen: Verdict | None = None
        look_at = self._began + (SLOWEST if self._entered.watch is not None else 0.0)  # records are quicker to read
        while (began := time.monotonic()) < self._deadline:
            recorded = self._recorded()
            if recorded is not None:
                return recorded
            if began >= look_at:
                on_screen = self._on_screen(on_screen)
                look_at = began + (SLOWEST if self._entered.watch is not None else 0.0)
            if on_screen is not None and began - self._began >= self._record_wait():
                return on_screen
            now = time.monotonic()
            time.sleep(max(pace(now - self._began), now - began))  # at most half of the time is spent looking
        if on_screen is not None:
            return on_screen
        if self._entered.watch is not None and self._entered.watch.mixed:
            self._last = "the agent's own record has it mixed with other words"
        return Verdict("unproven", f"Enter was pressed, but there is no proof: {self._last}")

    def _recorded(self) -> Verdict | None:
        found = self._entered.watch.look() if self._entered.watch is not None else None
        if found is None:
            return None
        proof = f"record {found.path}"
        if found.verdict == "submitted" and (said := self._error(found.path)):
            return Verdict("refused", f"the agent has it, and answered with an error: {said}", proof)
        return Verdict(found.verdict, "the agent's own record has it", proof)

    def _error(self, path: str) -> str:
        """The words with which the agent failed right away: not logged in, out of credit, at its limit."""
        watch, record = self._entered.watch, self._entered.profile.record
        if watch is None or record is None or not record.errors:
            return ""
        wait = _FAILING if watch.was_failing else record.error_wait
        end = min(self._deadline, time.monotonic() + wait)
        while not (said := watch.error(path)) and time.monotonic() < end:
            time.sleep(SLOWEST)
        return " ".join(said.split())[:200]

    def _record_wait(self) -> float:
        """Seconds after Enter for which the record is waited for before the screen's word is taken."""
        watch, record = self._entered.watch, self._entered.profile.record
        if watch is None or record is None:
            return 0.0
        return record.wait if watch.available else min(record.wait, _NO_RECORD)

    def _on_screen(self, before: Verdict | None) -> Verdict | None:
        """One look: the verdict that the screen supports by now, if any; `before` is that of the last look."""
        entered = self._entered
        look = self._look()
        seen = screen.judge(look, entered.profile)
        now = time.monotonic()
        self._last = seen.why
        told = ours.ours_on(look, seen, entered.text, entered.composer, entered.empty)
        if told == "mixed":
            self._emptied = 0.0
            self._last = "our text is still in the input box, and somebody has written beside it"
        elif told:
            self._emptied = 0.0
            self._last = f"our text is still in the input box (Enter pressed {self._presses} times)"
            if now >= self._again and self._presses <= self._retries and self._press(seen, look):
                self._presses += 1
                self._gap *= 2
                self._again = now + self._gap
        elif seen.state in {"dialog", "unknown"}:
            if seen.state == "dialog" or now - self._empty_at > _GLIMPSED:
                self._emptied = 0.0
            return before  # it covers what was seen, and takes nothing back
        elif seen.box is not None and not seen.box.empty:
            self._emptied = 0.0  # what stands there may be our text, as this UI shows it
            self._last = "something stands in the input box that may be our text"
            return before
        elif entered.watch is not None and is_command(entered.said or entered.text):
            self._last = (
                "our text left the input box, may be a command of the UI's own, and the agent's record has it not"
            )
        else:
            self._emptied = self._emptied or now
            self._empty_at = now
            shown = self._shown(seen)
            if not shown and entered.watch is not None and entered.watch.available:
                # A command of the UI's own empties the box too; gemini 0.61 trims ` /help` and runs it.
                self._last = "our text left the input box, but neither the agent's record nor the screen has it"
            elif now - self._emptied >= (_SHOWN if shown else _SETTLED):
                verdict = "queued" if seen.queued or entered.was_busy else "submitted"
                how = "shows the text or work on it" if shown else "shows an empty input box"
                return Verdict(verdict, f"our text left the input box, and the screen {how}", "screen")
        return None

    def _shown(self, seen: screen.Judgement) -> bool:
        """Whether the screen shows what became of it: the text above the box, a queue, or work that began."""
        lines = [one for one in map(squeeze, self._entered.text.split("\n")) if one]
        above = any(one[:20] in seen.outside for one in (lines[0], lines[-1])) or lines[-1][-20:] in seen.outside
        return above or seen.queued or (seen.busy and not self._entered.was_busy)
