"""The failures of bus-watch: each with a stable type name and a sentence that says what to do.

A message here never carries a token or the text of a bus message; it may be printed and logged as it is.
"""

import logging
from typing import ClassVar


class BusWatchError(Exception):
    """Base of every failure that a person or a script is meant to see.

    `code` is stable: it appears in `--json`, in logs and in Sentry tags, and scripts match on it.
    `exit_status` is what a command ends with when nothing catches the error. `is_said`: whoever met it has logged it,
    once an episode.
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    is_said: ClassVar[bool] = False


def level_of(error: BusWatchError) -> int:
    """At which level to log that something could not be done for it."""
    return logging.DEBUG if error.is_said else logging.ERROR


class UsageError(BusWatchError):
    """The command line makes no sense; nothing was done."""

    code = "usage"
    exit_status = 64


class ConfigError(BusWatchError):
    """The configuration cannot be used; the message names the key and the fix."""

    code = "config"


class TokenError(ConfigError):
    """The token cannot be read where the configuration says it is."""

    code = "token"
