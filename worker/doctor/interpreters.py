"""Commands that would have an interpreter read what somebody else wrote: there a message is a program, not data."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from worker.template import Template

FOREIGN = frozenset({"text", "source", "stream_id", "project", "class"})
"""Placeholders whose values come with the message; the others are the owner's or ours."""

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh"})
_CODE_OPTIONS = {
    **dict.fromkeys(_SHELLS, re.compile(r"-[A-Za-z]*c[A-Za-z]*|--command(=.*)?")),
    "python": re.compile(r"-[A-Za-z]*c.*"),
    "pypy": re.compile(r"-[A-Za-z]*c.*"),
    "perl": re.compile(r"-[A-Za-z]*[eE].*"),
    "ruby": re.compile(r"-[A-Za-z]*e.*"),
    "node": re.compile(r"-[ep]+.*|--(eval|print)(=.*)?"),
    "php": re.compile(r"-r.*"),
    "lua": re.compile(r"-e.*"),
    "osascript": re.compile(r"-e"),
    "pwsh": re.compile(r"-(c|C)\w*"),
}
_TMUX_SHELLS = re.compile(
    r"run(-shell)?|if(-shell)?|new(-session|-window|w)?|split-window|splitw|respawn(-pane|-window|p|w)"
    r"|(display-)?popup|pipe-pane|pipep"
)


def danger(command: Sequence[Template]) -> str | None:
    """Why this command would execute parts of a message, or None.

    It looks for interpreters anywhere in the argv, so that `env sh -c`, `sudo sh -c` and `timeout 5 sh -c` are found
    too. A placeholder among the arguments *of* a script (`sh -c 'wake "$1"' sh {text}`) is data, and fine.
    """
    for index, argument in enumerate(command):
        name = _interpreter(argument)
        for script in _scripts(name, command[index + 1 :]):
            if used := sorted(script.fields & FOREIGN):
                return (
                    f"{{{used[0]}}} would be read as code by {PurePath(argument.argument).name}; "
                    'in the script say "$SOS_MESSAGE_TEXT" (or another SOS_ variable) instead, or "stdin": true'
                )
    return None


def runs_code(command: Sequence[Template]) -> bool:
    """Whether the command's own arguments hold a script, so that what follows them is the script's data."""
    return any(
        any(True for _ in _after_option(_CODE_OPTIONS[name], command[index + 1 :]))
        for index, argument in enumerate(command)
        if (name := _interpreter(argument)) in _CODE_OPTIONS
    )


def _interpreter(argument: Template) -> str:
    if argument.fields:
        return ""
    return re.sub(r"[0-9.]+$", "", PurePath(argument.argument).name)


def _scripts(name: str, rest: Sequence[Template]) -> Iterator[Template]:
    """The arguments that this program would take for code."""
    if name == "ssh":  # it joins its arguments, and a shell at the other end reads them
        yield from rest
    elif name == "tmux":
        if any(not argument.fields and _TMUX_SHELLS.fullmatch(argument.argument) for argument in rest):
            yield from rest
    elif name == "eval":
        yield from rest
    elif name in {"awk", "gawk", "mawk", "sed", "jq"}:
        yield from rest[:1]
    elif name in _CODE_OPTIONS:
        yield from _after_option(_CODE_OPTIONS[name], rest)


def _after_option(option: re.Pattern[str], rest: Sequence[Template]) -> Iterator[Template]:
    """The option itself (code may be glued to it), and the next argument that is no option."""
    for index, argument in enumerate(rest):
        if not argument.argument.startswith("-"):
            return
        if option.fullmatch(argument.argument):
            yield argument
            yield from [later for later in rest[index + 1 :] if not later.argument.startswith("-")][:1]
            return
