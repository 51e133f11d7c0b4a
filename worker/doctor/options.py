"""Arguments that a message could make an option: `{text}` that starts with `-` is one to most programs."""

from collections.abc import Sequence
from pathlib import PurePath

from worker.doctor.interpreters import FOREIGN, runs_code
from worker.template import Template

_OURS = frozenset({"send-message", "send-message.sh", "agent-send", "agent-send.sh"})


def may_be_option(command: Sequence[Template]) -> str | None:
    """Which argument a message could turn into an option of the program, and the way round it; None: none.

    Behind `--` it cannot, nor as an argument of a script on the command line (`sh -c 'wake "$1"' sh {text}`), nor
    behind `-m` of our own commands. Of other programs' options it is not known how they take their value.
    """
    ours = PurePath(command[0].argument).name in _OURS
    for index, argument in enumerate(command[1:], 1):
        before = [one.argument for one in command[:index]]
        first = argument.pieces[0] if argument.pieces else (False, "")
        safe = "--" in before or (ours and before[-1] in {"-m", "--message"}) or runs_code(command[:index])
        if first[0] and first[1] in FOREIGN and not safe:
            return (
                f"a message that starts with - makes {argument.argument} an option of {PurePath(before[0]).name}: "
                'write "--" before it, or --option={text} if it has such a one, or give the text by "stdin": true'
            )
    return None
