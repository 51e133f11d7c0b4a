"""One UI, running in a pane of its own against the stand-in model."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.trial.installing import cache, environment
from ops.trial.looks import PLAIN, Look
from ops.trial.model import StandIn
from ops.trial.stopping import STOPPED, go_on
from ops.trial.terminal import Screen, Server, end_processes, naming
from ops.trial.truth import Truth
from ops.trial.uis import UI
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.recordings import look_of
from worker.terminal.screen import Judgement, judge

LIVE: "set[Session]" = set()
"""The sessions that run now, so that an interrupted trial can end them."""


class Session:
    """A UI in its pane; use it as a context manager, which ends everything that it started.

    `home` is made new each time and lies in the cache folder (Codex does not like one in the temporary folder);
    `cwd` is where the UI works, and where a tool call that somebody approved would leave the file `approved`.
    """

    name = "agent"

    def __init__(self, ui: UI, look: Look = PLAIN) -> None:
        self.ui = ui
        self.look = look
        self.tag = f"{ui.name}-{uuid.uuid4().hex[:6]}"
        self.home = cache() / "homes" / self.tag
        self.cwd = Path(tempfile.mkdtemp(prefix="trial-"))
        self.server = Server(f"trial-{self.tag}")
        self.pane = ""
        self.truth = Truth(self.home / "truth.jsonl", ui)
        self.sent: list[str] = []
        self._ready_as: Look | None = None

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        LIVE.add(self)
        self._model = StandIn(self.truth.log, tools=self.ui.tools)
        threading.Thread(target=self._model.serve_forever, daemon=True).start()
        try:
            self.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        LIVE.discard(self)
        self._model.shutdown()
        self._model.server_close()
        shutil.rmtree(self.cwd, ignore_errors=True)
        if kind is None or STOPPED.is_set():
            shutil.rmtree(self.home, ignore_errors=True)
        else:
            print(f"{self.ui.name}: {self.home} is kept, to see what went wrong there", file=sys.stderr)

    @property
    def base(self) -> str:
        """Where the UI finds its model."""
        return self._model.base(self.tag)

    def start(self, more: Sequence[str] | None = None) -> None:
        """Start the UI in a new tmux session, without waiting for it; `more`: instead of its usual arguments."""
        how = self.ui.set_up(self.home, self.cwd, self.base)
        go_on()
        self.look.dress(self.home, self.cwd)
        argv = [str(self.ui.package.path), *(how.args if more is None else more), *self.look.args]
        env = {**environment(self.home), **how.env, **self.look.env}
        env["PATH"] = f"{self.ui.package.path.parent}{os.pathsep}{env['PATH']}"  # omp's bun is installed beside it
        if how.before:
            first = [str(self.ui.package.path), *how.before]
            subprocess.run(first, env=env, cwd=self.cwd, capture_output=True, check=True, timeout=120)
        self.pane = self.server.start(self.name, argv, env, self.cwd, self.look.size)
        go_on()

    def stop(self) -> None:
        """End the UI and what it started: all below its panes, and daemons, which are known by the home they name."""
        self.server.stop()
        end_processes(naming(self.home))

    def again(self, look: Look | None = None) -> None:
        """End the UI and start it anew, in the same home, in the same look or another one."""
        self.stop()
        self.look = look or self.look
        self.start()

    def wear(self, look: Look) -> None:
        """Look so, starting anew if it does not, and be ready."""
        if self.look != look:
            self.again(look)
            self._ready_as = None
        if self._ready_as is not self.look:
            self.ready()
            self._ready_as = self.look

    def ready(self, limit: float = 300.0) -> Screen:
        """Wait until the UI shows that it listens, and stands still, or moves on for ever (Vibe's logo); its screen."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            screen = self.server.still(self.pane, quiet=2.5, limit=12)
            if keys := self.asked_at_first(screen):
                self.server.press(self.pane, keys)
            elif self.loaded(screen):
                if self.look.keys:
                    self.server.press(self.pane, self.look.keys)
                    screen = self.server.still(self.pane, quiet=1.0, limit=5)
                return screen
        raise SystemExit(f"{self.ui.name} shows nothing after {limit:.0f} seconds")

    def loaded(self, screen: Screen) -> bool:
        """Does `screen` show that the UI listens?"""
        pattern = self.look.loaded or self.ui.loaded
        return re.search(pattern, screen.plain.text, re.MULTILINE) is not None

    def asked_at_first(self, screen: Screen) -> tuple[str, ...]:
        """The keys that answer what a new home makes the UI ask; none if it does not."""
        shown = screen.plain.text
        return next((keys for pattern, keys in self.ui.asks_at_first if re.search(pattern, shown)), ())

    def shows(self) -> str:
        """The pane's text and cursor, for a person; or that there is no pane any more."""
        try:
            screen = self.server.screen(self.pane)
        except subprocess.CalledProcessError as error:
            return f"none: {error.stderr.strip()}"
        cursor = f"{screen.cursor_x},{screen.cursor_y} flag {screen.cursor_flag}"
        return f"{screen.plain.text.rstrip()}\n[title {screen.pane_title!r}, cursor {cursor}]"

    @property
    def runs(self) -> bool:
        """Is its pane there, with a program in it?"""
        try:
            return self.server.screen(self.pane).pane_dead == 0
        except subprocess.SubprocessError:
            return False

    @property
    def approved(self) -> bool:
        """Did somebody, or something, approve the tool call?"""
        return (self.cwd / "approved").exists()

    def enter_as_a_person(self) -> None:
        """Enter what stands in the composer, as a person would who sees that the first Enter was not enough."""
        for _ in range(3):
            self.server.keys(self.pane, "Enter")
            box = self.judged(self.server.still(self.pane, quiet=0.5, limit=3)).box
            if box is None or box.empty:
                break

    def approve_as_a_person(self) -> None:
        """Answer the UI's question with its default, and take away what the command left."""
        if self.ui.moved and re.search(self.ui.moved, self.server.screen(self.pane).plain.text):
            self.server.keys(self.pane, "Escape")
            self.server.still(self.pane, quiet=0.5, limit=5)
        self.server.keys(self.pane, "Enter")
        end = time.monotonic() + 15
        while not self.approved:
            if time.monotonic() > end:
                raise SystemExit(f"{self.ui.name} no longer asks whether the command may run")
            time.sleep(0.1)
        (self.cwd / "approved").unlink()
        self.at_rest()

    def clear_draft(self) -> Screen:
        """Delete a draft as a person would: with backspace, until the box is seen to be empty; the last screen."""
        screen = self.server.still(self.pane, quiet=0.4, limit=1.5)
        for keys in itertools.islice(itertools.cycle(self.ui.clears), 80):
            if self._is_empty(screen):
                break
            self.server.keys(self.pane, *keys)
            screen = self.server.still(self.pane, quiet=0.4, limit=1.5)  # a loaded UI draws what keys did later
        return screen

    def _is_empty(self, screen: Screen) -> bool:
        """Whether the box that the UI's profile finds on `screen` is empty."""
        box = self.judged(screen).box
        return box is not None and box.empty

    def judged(self, screen: Screen) -> Judgement:
        """What the UI's profile makes of `screen`."""
        return judge(look_of(asdict(screen)), load(self.ui.name, [SHIPPED]))

    def asked(self, limit: float = 30.0) -> None:
        """Wait until the UI asks, or longer than it can take."""
        self._settles({"dialog", "unknown"}, limit)

    def at_rest(self, limit: float = 20.0) -> None:
        """Wait until the UI waits for a message, or longer than it can take."""
        self._settles({"idle"}, limit)

    def _settles(self, states: Collection[str], limit: float) -> None:
        """Wait until half a second's looks find the UI in one of the states; it may move on for ever in any of them."""
        end, since = time.monotonic() + limit, 0.0
        while (now := time.monotonic()) < end:
            go_on()
            seen = self.judged(self.server.screen(self.pane)).state in states
            since = (since or now) if seen else 0.0
            if seen and now - since >= 0.5:
                return
            time.sleep(0.1)

    def mine(self, *texts: str) -> None:
        """Remember texts that belong into the conversation; what else turns up there is a stray."""
        self.sent += texts
