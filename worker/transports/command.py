"""From a configured command and a message to what is executed, or why it cannot be.

No shell, no inheritance: the argv is what the owner configured with the message's values put in, and the
environment is listed here in full.
"""

import functools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from worker import file_modes
from worker.atomic_files import write_atomically
from worker.errors import BusWatchError, ConfigError
from worker.file_modes import exposed
from worker.template import Template

MAX_STRING = 131_072 if sys.platform == "linux" else sys.maxsize
"""Bytes of one argument or variable with its NUL: MAX_ARG_STRLEN (Linux, uapi/linux/binfmts.h)."""

INHERITED = ("PATH", "HOME", "LANG", "TERM", "USER")
_INHERITED = tuple(name.encode() for name in INHERITED)

_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXT, _TEXT_OMITTED = b"SOS_MESSAGE_TEXT", b"SOS_MESSAGE_TEXT_OMITTED"
_AROUND_A_VARIABLE = 10  # bytes: `=`, NUL and a pointer
_SLACK = 4096  # what the kernel itself puts on the new stack: the path, the auxiliary vector


class CommandNotAllowed(ConfigError):  # noqa: N818 - a verdict, read as a sentence
    """The command is not an executable that the allowlist names; the message says which step failed."""

    code = "command-not-allowed"


class CommandMissing(CommandNotAllowed):
    """The allowed command is not there, or cannot be executed, just now: an upgrade passes, so this may too."""

    code = "command-missing"


class CommandExposed(CommandMissing):
    """Somebody else could change or replace the allowed command; chmod or chown mends it, so messages wait."""

    code = "command-exposed"


class CannotRun(BusWatchError):  # noqa: N818 - a verdict, read as a sentence
    """This message cannot be passed to this command, now or ever; the sentence says why."""

    code = "cannot-run"


class Envelope(NamedTuple):
    """A message as its transports see it; `key` is the message's KEY, `attempt` counts from 1.

    `messages`: how many it is, each with its own preamble in `text` where there are several.
    """

    agent: str
    project: str
    stream: str
    message_id: str
    source: str
    text: str
    message_class: str
    timestamp: str
    key: str
    attempt: int
    messages: int = 1


class Prepared(NamedTuple):
    """What the launcher is asked to execute; standard input is empty when `stdin` is None."""

    argv: list[bytes]
    env: dict[bytes, bytes]
    stdin: bytes | None


def check_command(argv0: str, allowlist: Sequence[str]) -> None:
    """Raise CommandNotAllowed unless `argv0` is an absolute path to an executable that the allowlist names.

    Named means: its resolved target is the resolved target of a listed path, so that /bin/true may be a link.
    CommandMissing where it cannot be run just now, CommandExposed where somebody else could have put it there.
    """
    if not argv0.startswith("/"):
        raise CommandNotAllowed(f"command {argv0!r} is not an absolute path; write the whole path of the executable")
    # Equal strings have equal targets; only others are worth resolving at every delivery.
    if argv0 not in allowlist:
        target = os.path.realpath(argv0)
        if not any(Path(listed).is_absolute() and os.path.realpath(listed) == target for listed in allowlist):
            raise CommandNotAllowed(f"command {argv0!r} is not on the allowlist; add it there if it may be run")
    seen = _runnable.get(argv0)
    if seen is not None and file_modes.is_as_seen(seen):
        return  # nothing on the way to it is another than when all of the following was well
    if not os.path.isfile(argv0):  # noqa: PTH113 - a Path costs more than the look
        raise CommandMissing(f"command {argv0!r} is not a file; install it or correct its path")
    if not os.access(argv0, os.X_OK):
        raise CommandMissing(f"command {argv0!r} is not executable; chmod +x it or name another")
    if (reason := exposed(argv0)) is not None:
        raise CommandExposed(f"command {argv0!r} is not run: {reason}")
    if (seen := file_modes.seen_fine(argv0)) is not None:
        _runnable[argv0] = seen


_runnable: dict[str, file_modes.Seen] = {}


class Command:
    """A transport's command, ready for its messages: what is the same for all of them is made once.

    `message_file` of `prepare` is where the text was written (see `write_message_file`), needed when a template names
    it. Whether the program may be run is looked at anew for each message.
    """

    def __init__(
        self, templates: Sequence[Template], *, allowlist: Sequence[str], extra_env: Mapping[str, str], stdin: bool
    ) -> None:
        self._templates = templates
        self._allowlist = allowlist
        self._extra_env = extra_env
        self._stdin = stdin

    def prepare(self, envelope: Envelope, message_file: Path | None = None) -> Prepared:
        """Put the message into the command.

        Raises CannotRun when the message does not fit, CommandNotAllowed when the command may not be run (any more).
        """
        if self._templates[0].fields:
            program = self._templates[0].argument
            raise CommandNotAllowed(f"command {program!r} is chosen by the message; write the executable's path")
        fixed = self._fixed
        check_command(fixed.program, self._allowlist)
        text = envelope.text if envelope.text.isascii() else _SURROGATE.sub("\ufffd", envelope.text)
        argv, room = fixed.argv, fixed.room
        if argv is None:
            values = {
                "text": text,
                "source": _word(envelope.source),
                "agent": envelope.agent,
                "stream_id": _word(envelope.message_id),
                "project": _word(envelope.project),
                "class": _word(envelope.message_class),
                "message_file": str(message_file) if message_file else "",
            }
            argv = [_argument(template, values) for template in self._templates]
            room -= _size(argv)
        env = _environment(envelope)
        for variable, value in env.items():
            size = len(variable) + len(value)
            room -= size + _AROUND_A_VARIABLE
            if size + 2 > MAX_STRING or b"\0" in value:
                raise CannotRun(f"the value of {os.fsdecode(variable)} cannot be passed in an environment variable")
        encoded_text = _encode(text)
        whole = len(_TEXT) + len(encoded_text) + 2
        if b"\0" in encoded_text or whole > MAX_STRING or whole + 8 > room:
            env[_TEXT_OMITTED] = b"1"
        else:
            env[_TEXT] = encoded_text
        if room < 64:
            raise CannotRun("the command and its environment are together longer than this system can execute")
        return Prepared(argv, fixed.env | env, encoded_text if self._stdin else None)

    @functools.cached_property
    def _fixed(self) -> "_Fixed":
        """What no message changes. Raises CannotRun."""
        env = {name: os.environb[name] for name in _INHERITED if name in os.environb}
        for name, value in self._extra_env.items():
            env[os.fsencode(name)] = _encode(value)
        for variable, encoded in env.items():
            if b"\0" in encoded or len(variable) + len(encoded) + 2 > MAX_STRING:
                raise CannotRun(f"the value of {os.fsdecode(variable)} cannot be passed in an environment variable")
        argv = None
        if not any(template.fields for template in self._templates):
            argv = [_argument(template, {}) for template in self._templates]
        room = os.sysconf("SC_ARG_MAX") - _SLACK - _size(argv or []) - _size(env)
        return _Fixed(self._templates[0].render({}), argv, env, room)


class _Fixed(NamedTuple):
    """`argv`: the whole of it where no message changes it. `room`: bytes that are left for what is not in here."""

    program: str
    argv: list[bytes] | None
    env: dict[bytes, bytes]
    room: int


def write_message_file(path: Path, text: str) -> None:
    """Write a text for `{message_file}`: 0600, complete or not there; OSError when the disk refuses."""
    write_atomically(path, _encode(_SURROGATE.sub("\ufffd", text)), durable=False)


def _argument(template: Template, values: Mapping[str, str]) -> bytes:
    if "message_file" in template.fields and not values["message_file"]:
        raise CannotRun("the command wants {message_file}, and none was written")
    argument = _encode(template.render(values))
    subject = "the message's text" if "text" in template.fields else f"the argument {template.argument!r}"
    remedy = '; use {message_file} or "stdin": true instead of {text}' if "text" in template.fields else ""
    if b"\0" in argument:
        raise CannotRun(f"{subject} contains NUL, which no argument can carry{remedy}")
    if len(argument) + 1 > MAX_STRING:
        raise CannotRun(f"{subject} is longer than one argument can be ({MAX_STRING - 1} bytes){remedy}")
    return argument


def _environment(envelope: Envelope) -> dict[bytes, bytes]:
    """Our variables, but for the text. They come last, so that a declared one never hides them."""
    env = {
        b"SOS_AGENT": _encode(envelope.agent),
        b"SOS_PROJECT": _encode(_word(envelope.project)),
        b"SOS_MESSAGE_STREAM_ID": _encode(_word(envelope.message_id)),
        b"SOS_MESSAGE_SOURCE": _encode(_word(envelope.source)),
        b"SOS_MESSAGE_CLASS": _encode(_word(envelope.message_class)),
        b"SOS_MESSAGE_TIMESTAMP": _encode(_word(envelope.timestamp)),
        b"SOS_MESSAGE_KEY": _encode(_word(envelope.key)),
        b"SOS_DELIVERY_ATTEMPT": b"%d" % envelope.attempt,
    }
    if envelope.messages > 1:
        env[b"SOS_MESSAGE_COUNT"] = b"%d" % envelope.messages
    return env


def _word(value: str) -> str:
    """A short field of the message, fit for an argument: NUL and lone surrogates become U+FFFD."""
    if value.isascii() and "\0" not in value:
        return value
    return _SURROGATE.sub("\ufffd", value.replace("\0", "\ufffd"))


def _encode(value: str) -> bytes:
    # surrogateescape: a configured path, or an inherited variable, need not be UTF-8.
    return value.encode("utf-8", "surrogateescape")


def _size(strings: Sequence[bytes] | Mapping[bytes, bytes]) -> int:
    """What these take on the new process's stack: each with its NUL and a pointer."""
    if isinstance(strings, Mapping):
        return sum(len(name) + len(value) + _AROUND_A_VARIABLE for name, value in strings.items())
    return sum(len(string) + 9 for string in strings)
