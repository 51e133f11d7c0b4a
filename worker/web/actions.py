"""What a page may have done: commands of the command line, put together here from checked words."""

from typing import Any

from worker.ui import verbs

LONGEST_WORD = 400


class BadActionError(Exception):
    """No command can be made of this."""


def command_of(said: object) -> tuple[tuple[str, ...], str | None]:
    """The words of a command behind `bus-watch`, and its standard input.

    Raises:
        BadActionError: what was said makes none.
    """
    if not isinstance(said, dict):
        raise BadActionError("an object is needed")
    match said.get("verb"):
        case "retry" | "drop" as verb:
            return verbs.of_delivery(verb, _word(said, "key"), _word(said, "transport")), None
        case "pause" | "resume" as verb:
            return verbs.of_lane(verb, _word(said, "agent"), _word(said, "transport")), None
        case "reload" | "doctor" as verb:
            return (verb,), None
        case "send":
            text = said.get("text")
            if not isinstance(text, str) or not text.strip():
                raise BadActionError("there is no text to send")
            return verbs.send(_word(said, "agent")), text
    raise BadActionError("verb is retry, drop, pause, resume, reload, doctor or send")


def _word(said: dict[str, Any], name: str) -> str:
    """A word that is no option."""
    word = said.get(name)
    if not isinstance(word, str) or not 0 < len(word) <= LONGEST_WORD or word.startswith("-") or not word.isprintable():
        raise BadActionError(f"{name} is no name")
    return word
