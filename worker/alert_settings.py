"""What can be configured of alerts: the channels by which people are told, and what watches a dead worker."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from worker.conditions import Condition
from worker.setting_types import Duration, FilePath, Name, parse_duration

ALERTS = "@alerts"
"""The name under which alerts are messages: no agent can have it."""

_DESKTOP = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY")


class ChannelSettings(BaseModel):
    """One way to tell a person."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    """What `alerts`, `queue`, `pause` and the log call it."""
    type: Literal["desktop", "ntfy", "webhook", "apprise"]
    """`desktop`: a notification on this machine's screen (`notify-send`, `osascript`). `ntfy`: a topic of an ntfy
    server. `webhook`: a POST of JSON. `apprise`: any of Apprise's services (extra `apprise`)."""
    url_file: FilePath | None = None
    """Where the address lies: the topic's, the webhook's, one or more of Apprise's, one a line. It is a secret: keep
    the file 0600. `$CREDENTIALS_DIRECTORY` is filled in."""
    token_file: FilePath | None = None
    """For `ntfy` and `webhook`: where the token lies that is sent as `Authorization: Bearer`."""
    conditions: frozenset[Condition] | None = None
    """What it tells of; unset: everything."""
    include_text: bool = False
    """Let the message's text, and what a transport printed, go along."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "desktop" and self.url_file is not None:
            raise ValueError("a desktop channel has no url_file")
        if self.type != "desktop" and self.url_file is None:
            raise ValueError(f"url_file is missing: where the address of this {self.type} channel lies")
        if self.type not in {"ntfy", "webhook"} and self.token_file is not None:
            raise ValueError(f"token_file is not for a channel of type {self.type}")
        return self

    @property
    def command(self) -> tuple[str, ...]:
        """The argv that tells a person what it reads on standard input. It names files, and holds no secret."""
        argv = [sys.executable, "-P", "-m", "worker.alerts.tell", self.type]
        for option, path in (("--url-file", self.url_file), ("--token-file", self.token_file)):
            if path is not None:
                argv += [option, filled_in(path)]
        if self.include_text:
            argv.append("--include-text")
        return tuple(argument.replace("{", "{{").replace("}", "}}") for argument in argv)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it needs beside those that every transport has."""
        return {name: os.environ[name] for name in _DESKTOP if self.type == "desktop" and os.environ.get(name)}


class AlertSettings(BaseModel):
    """Who is told, and how, when something needs a hand."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    channels: tuple[ChannelSettings, ...] = ()
    """By which ways people are told. Each opening and each end is told once by each."""
    close_after: Duration = 120.0
    """A condition is over once it has not held for so long: one that comes and goes is told of once."""
    heartbeat_url_file: FilePath | None = None
    """Where the address lies that is asked while the worker does its work: a check of healthchecks.io or anything of
    its form. Whoever is behind it tells people when it falls silent."""
    heartbeat_every: Annotated[float, BeforeValidator(parse_duration), Field(ge=5, le=86400)] = 60.0
    """How often, between 5 s and a day."""
    sentry_monitor: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,50}$")] | None = None
    """The slug of a Sentry Cron monitor that is told the same, made where it is not there; needs `sentry_dsn`."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [channel.name for channel in self.channels]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"channel names must differ: {', '.join(sorted(doubled))} is there twice")
        return self


def filled_in(path: str) -> str:
    """A file's path as another process can open it: credentials and home directory filled in."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return str(Path(path.replace("$CREDENTIALS_DIRECTORY", credentials)).expanduser())
