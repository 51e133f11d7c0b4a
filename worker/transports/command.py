"""From a configured command and a message to what is executed, or why it cannot be.

No shell, no inheritance: the argv is what the owner configured with the message's values put in, and the
environment is listed here in full.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from worker.atomic_files import write_atomically
from worker.errors import BusWatchError, ConfigError
from worker.file_modes import exposed
from worker.template import Template

MAX_STRING = 131_072 if sys.platform == "linux" else sys.maxsize
"""Bytes of one argument or variable with its NUL: MAX_ARG_STRLEN (Linux, uapi/linux/binfmts.h)."""

INHERITED = ("PATH", "HOME", "LANG", "TERM", "USER")
_INHERITED = tuple(name.encode() for name in INHERITED)

_SURROGATE = re.compile("[\ud800-\udfff]")
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
    if not os.path.isfile(argv0):  # noqa: PTH113 - at every delivery, and a Path costs more than the look
        raise CommandMissing(f"command {argv0!r} is not a file; install it or correct its path")
    if not os.access(argv0, os.X_OK):
        raise CommandMissing(f"command {argv0!r} is not executable; chmod +x it or name another")
    if (reason := exposed(argv0)) is not None:
        raise CommandExposed(f"command {argv0!r} is not run: {reason}")


def prepare(
    command: Sequence[Template],
    envelope: Envelope,
    *,
    allowlist: Sequence[str],
    extra_env: Mapping[str, str],
    stdin: bool,
    message_file: Path | None,
) -> Prepared:
    """Put the message into the command.

    `message_file` is where its text was written (see `write_message_file`), needed when a template names
    it. Raises CannotRun when the message does not fit, CommandNotAllowed when the command may not be run
    (any more).
    """
    program = command[0]
    if program.fields:
        raise CommandNotAllowed(f"command {program.argument!r} is chosen by the message; write the executable's path")
    check_command(program.render({}), allowlist)
    text = _SURROGATE.sub("\ufffd", envelope.text)
    values = {
        "text": text,
        "source": _word(envelope.source),
        "agent": envelope.agent,
        "stream_id": _word(envelope.message_id),
        "project": _word(envelope.project),
        "class": _word(envelope.message_class),
        "message_file": str(message_file) if message_file else "",
    }
    argv = [_argument(template, values) for template in command]
    env = _environment(envelope, values, extra_env)
    encoded_text = _encode(text)
    room = os.sysconf("SC_ARG_MAX") - _SLACK - _size(argv) - _size(env)
    name = b"SOS_MESSAGE_TEXT"
    whole = len(name) + len(encoded_text) + 2
    if b"\0" in encoded_text or whole > MAX_STRING or whole + 8 > room:
        env[b"SOS_MESSAGE_TEXT_OMITTED"] = b"1"
    else:
        env[name] = encoded_text
    for variable, value in env.items():
        if b"\0" in value or len(variable) + len(value) + 2 > MAX_STRING:
            raise CannotRun(f"the value of {os.fsdecode(variable)} cannot be passed in an environment variable")
    if room < 64:
        raise CannotRun("the command and its environment are together longer than this system can execute")
    return Prepared(argv, env, encoded_text if stdin else None)


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


def _environment(envelope: Envelope, values: Mapping[str, str], extra_env: Mapping[str, str]) -> dict[bytes, bytes]:
    """All variables but the text; ours come last, so that a declared one never hides them."""
    env = {name: os.environb[name] for name in _INHERITED if name in os.environb}
    for name, value in extra_env.items():
        env[os.fsencode(name)] = _encode(value)
    env[b"SOS_AGENT"] = _encode(envelope.agent)
    env[b"SOS_PROJECT"] = _encode(values["project"])
    env[b"SOS_MESSAGE_STREAM_ID"] = _encode(values["stream_id"])
    env[b"SOS_MESSAGE_SOURCE"] = _encode(values["source"])
    env[b"SOS_MESSAGE_CLASS"] = _encode(values["class"])
    env[b"SOS_MESSAGE_TIMESTAMP"] = _encode(_word(envelope.timestamp))
    env[b"SOS_MESSAGE_KEY"] = _encode(_word(envelope.key))
    env[b"SOS_DELIVERY_ATTEMPT"] = b"%d" % envelope.attempt
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
        return sum(len(name) + len(value) + 10 for name, value in strings.items())
    return sum(len(string) + 9 for string in strings)
