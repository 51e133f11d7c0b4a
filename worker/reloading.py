"""The configuration is live: it is read again when its file changes, and when somebody asks for it."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from worker import configuration
from worker.errors import BusWatchError, ConfigError
from worker.ledger.moved import note_move
from worker.settings import Settings

logger = logging.getLogger("bus_watch.config")

LOOK_SECONDS = 1.0

NEEDS_RESTART = (
    "state_path",
    "ledger_url_file",
    "ledger_url_env",
    "ledger_url",
    "host",
    "workers",
    "log_format",
    "log_level",
    "log_file",
    "metrics_file",
    "traces_endpoint",
    "sentry_dsn",
    "sentry_environment",
)
"""What a worker builds itself from when it starts; everything else is taken while it runs."""

Stamp = tuple[int, int, int] | None


class LiveConfiguration:
    """Looks at the file once a second: its inode, time and size. What it then finds is taken, or refused with a reason.

    `take` is given settings and the keys whose new value they do not have; `refuse` a sentence. Both may raise
    BusWatchError where the ledger cannot be written: the next look tries again. `asked` changes when somebody asks.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        take: Callable[[Settings, tuple[str, ...]], None],
        refuse: Callable[[str], None],
        asked: Callable[[], int],
        fixed: tuple[str, ...] = (),
    ) -> None:
        """`fixed`: keys that the command line has set, whatever the file says."""
        self._in_force = settings
        self._take = take
        self._refuse = refuse
        self._ask = asked
        self._keys = tuple(key for key in NEEDS_RESTART if key not in fixed)
        self._asked = asked()
        # What is in force was read before we look: it may have changed in between, so the first look reads it again.
        self._stamp: Stamp = None
        self._read_once = False
        self._look_at = 0.0
        self._refused = ""

    def look(self, *, asked: bool = False) -> None:
        """Called now and then; does something once a second, or when `asked`."""
        now = time.monotonic()
        if now < self._look_at and not asked:
            return
        self._look_at = now + LOOK_SECONDS
        stamp, signalled = stamp_of(self._in_force.config_path), self._ask()
        if stamp == self._stamp and signalled == self._asked and self._read_once and not asked:
            return
        try:
            self._read()
        except BusWatchError as error:
            logger.error("the configuration was read, which could not be written down yet: %s", error)  # noqa: TRY400 - our sentence says it all
            self._read_once = False
            return
        self._stamp, self._asked, self._read_once = stamp, signalled, True

    def _read(self) -> None:
        """Read the file, and take or refuse it. BusWatchError: that could not be written down."""
        try:
            found = configuration.load(self._in_force.config_path)
        except ConfigError as error:
            sentence = "; ".join(str(error).splitlines())
            if sentence != self._refused:
                logger.error("the configuration is refused, that of before is in force: %s", sentence)  # noqa: TRY400 - our sentence says it all
            self._refuse(sentence)
            self._refused = sentence
            return
        later = tuple(key for key in self._keys if getattr(found, key) != getattr(self._in_force, key))
        settings = found.model_copy(update={key: getattr(self._in_force, key) for key in NEEDS_RESTART})
        self._take(settings, later)
        what = differences(self._in_force, settings)
        if what or self._refused:
            logger.info("the configuration is in force: %s", ", ".join(what) or "as before")
        if "state_path" in later:
            note_move(found.files_dir, self._in_force.files_dir)
        if later:
            logger.warning("%s changed in the configuration, which takes a restart", ", ".join(later))
        self._in_force, self._refused = settings, ""


def stamp_of(path: Path) -> Stamp:
    """What differs once the file is another, or has been written to."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path that has a NUL is somebody else's to refuse
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def differences(before: Settings, after: Settings) -> list[str]:
    """What is new, gone or changed, in words without values."""
    was = {agent.agent: agent for agent in before.agents}
    now = {agent.agent: agent for agent in after.agents}
    found = [f"{name} is new" for name in now if name not in was]
    found += [f"{name} is gone" for name in was if name not in now]
    found += [f"{name}: {keys} changed" for name in now if name in was and (keys := _changed(was[name], now[name]))]
    keys = _changed(before.model_copy(update={"agents": after.agents}), after)
    return [*found, f"{keys} changed"] if keys else found


def _changed(before: BaseModel, after: BaseModel) -> str:
    return ", ".join(key for key in type(after).model_fields if getattr(before, key) != getattr(after, key))
