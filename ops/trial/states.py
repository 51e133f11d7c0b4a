"""Bring a UI into each of its states, and record what it shows there."""

import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from ops.trial.model import SLOW_STEP
from ops.trial.recording import save
from ops.trial.sessions import Session
from ops.trial.terminal import Screen
from ops.trial.uis import UI
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.recordings import look_of
from worker.terminal.screen import judge

_SLOW = 80
"""Seconds for which an answer streams: some 20 are enough for what is recorded meanwhile, on a machine without load."""

PASTED = "\n".join(f"line {n} of something that a person pasted and has not sent yet" for n in range(40))


def record(ui: UI, folder: Path) -> list[Path]:
    """Record every state of `ui` anew; the fixtures' paths. They take the place of its old ones once all are there."""
    with tempfile.TemporaryDirectory(prefix="trial-screens-") as new:
        with Session(ui) as session:
            names = [path.name for path in _Recorder(session, Path(new)).all()]
        shutil.rmtree(folder / ui.name, ignore_errors=True)
        shutil.copytree(Path(new) / ui.name, folder / ui.name)
    return [folder / ui.name / name for name in names]


class _Recorder:
    def __init__(self, session: Session, folder: Path) -> None:
        self._s = session
        self._folder = folder
        self._version = session.ui.package.version
        self._profile = load(session.ui.name, [SHIPPED])
        self._paths: list[Path] = []

    def all(self) -> list[Path]:
        self._starting()
        self._drafts("before the first message", few=True)
        self._say("hello M00000001Z")
        self._until("ok M00000001Z")
        self._keep("idle", "after a short turn")
        self._drafts("after a turn")
        self._keep("idle", "a draft was typed and deleted")
        self._busy()
        if self._s.ui.asks:
            self._dialog()
        self._copy_mode()
        self._overlays()
        return self._paths

    def _keep(self, state: str, about: str, screen: Screen | None = None) -> None:
        """Record the pane's screen, or `screen`.

        A loaded UI shows a state seconds after the keys for it: it is waited for. If it does not come, what the UI
        shows is recorded all the same, and the tests tell that its profile does not explain it.
        """
        shown = screen or self._once_it_shows(state)
        self._paths.append(
            save(shown, profile=self._s.ui.name, state=state, version=self._version, about=about, folder=self._folder)
        )

    def _once_it_shows(self, state: str) -> Screen:
        server, pane = self._s.server, self._s.pane
        end = time.monotonic() + 40
        while time.monotonic() < end:
            # One that works never stands still.
            shown = server.screen(pane) if state in {"busy", "queued"} else server.still(pane, quiet=0.8, limit=4)
            if self._is_as(state, shown):
                break
            time.sleep(0.3)
        return shown

    def _is_as(self, state: str, screen: Screen) -> bool:
        seen = judge(look_of(asdict(screen)), self._profile)
        if state == "unknown":
            return seen.state not in {"idle", "busy"}
        if state == "queued":
            return seen.state == "busy" and seen.queued
        return state in {"copy-mode", seen.state}

    def _until(self, words: str, limit: float = 60) -> None:
        """Wait until the UI shows `words`, or long enough."""
        end = time.monotonic() + limit
        while words not in self._s.server.screen(self._s.pane).text and time.monotonic() < end:
            time.sleep(0.2)

    def _starting(self) -> None:
        self._keep("unknown", "the moment it was started", self._s.server.screen(self._s.pane))
        loading = None
        while not self._s.loaded(screen := self._s.server.still(self._s.pane, quiet=0, limit=1)):
            loading = screen if screen.text.strip() else loading
            if self._s.asked_at_first(screen):
                break
        if loading is not None:
            self._keep("unknown", "the last screen before it listens: loading, or a question at first", loading)
        self._s.ready()
        self._keep("idle", "just started, nothing was said yet")

    def _drafts(self, when: str, *, few: bool = False) -> None:
        server, pane = self._s.server, self._s.pane
        server.type(pane, "please look at")
        self._keep("draft", f"half a line, {when}")
        server.keys(pane, "C-a")
        self._keep("draft", f"half a line, the cursor at its start, {when}")
        self._s.clear_draft()
        server.paste(pane, "first line\nsecond line\n\nfourth, half")
        self._keep("draft", f"four pasted lines, one empty, {when}")
        self._s.clear_draft()
        if few:
            return
        server.type(pane, "x")
        self._keep("draft", f"one letter, {when}")
        self._s.clear_draft()
        server.paste(pane, PASTED)
        self._keep("draft", f"forty pasted lines, {when}")
        self._s.clear_draft()
        for text, what, state in (
            ("/", "a slash, which opens a menu", "draft"),
            ("look at @", "an at sign, which opens completions", "draft"),
            ("!", "an exclamation mark, which asks for a shell", "unknown"),
        ):
            server.type(pane, text)
            shown = self._once_it_shows(state)
            # A prompt of its own (Vibe's `/`) is no box that the profile knows: as good, if nothing is typed there.
            known = self._is_as(state, shown) or not self._is_as("unknown", shown)
            self._keep(state if known else "unknown", f"{what}, {when}", shown)
            server.keys(pane, "Escape")
            self._s.clear_draft()

    def _say(self, text: str) -> None:
        server, pane = self._s.server, self._s.pane
        server.paste(pane, text)
        self._once_it_shows("draft")
        server.keys(pane, *self._profile.typing.enter.split())

    def _busy(self) -> None:
        server, pane = self._s.server, self._s.pane
        self._say(f"slow{_SLOW} M00000002Z")
        self._until("M00000002Z w2", limit=15)  # Continue shows an answer when it is whole
        self._keep("busy", "an answer streams")
        time.sleep(1)
        self._keep("busy", "an answer streams, a second later")
        server.type(pane, "and then")
        self._keep("draft", "half a line while an answer streams")
        self._s.clear_draft()
        self._keep("busy", "an answer streams, a draft was deleted")
        if self._profile.typing.busy == "type":
            self._say("next one, M00000003Z")
            self._keep("queued", "one message was sent while an answer streams")
            self._say("two lines, M00000004Z\nof text")
            self._keep("queued", "two messages were sent while an answer streams")
        self._until(
            "ok M00000004Z" if self._profile.typing.busy == "type" else f"w{int(_SLOW / SLOW_STEP) - 1}",
            limit=3 * _SLOW,
        )
        server.still(pane, quiet=6, limit=60)
        self._keep("idle", "after a long turn")

    def _dialog(self) -> None:
        server, pane = self._s.server, self._s.pane
        self._say("toolcall please, M00000005Z")
        self._keep("dialog", "it asks whether it may run a command")
        server.keys(pane, "Down")
        time.sleep(1)
        self._keep("dialog", "it asks, and the second answer is chosen")
        server.keys(pane, "Escape")
        server.still(pane, quiet=2)
        shown = self._once_it_shows("idle")
        if self._is_as("dialog", shown):  # Hermes
            self._keep("dialog", "it asks, and Escape was pressed, which answers nothing", shown)
        else:
            self._keep("idle", "the question was answered with Escape", shown)
        if self._s.approved:
            raise SystemExit("the command ran although nobody approved it")

    def _copy_mode(self) -> None:
        server, pane = self._s.server, self._s.pane
        server.run("copy-mode", "-t", pane)
        server.keys(pane, "-X", "page-up")
        self._keep("copy-mode", "a person scrolls back")
        server.keys(pane, "-X", "cancel")

    def _overlays(self) -> None:
        for opening, closing, about in self._s.ui.overlays:
            self._s.server.press(self._s.pane, opening)
            self._keep("unknown", about)
            self._s.server.press(self._s.pane, closing)
            self._s.clear_draft()
