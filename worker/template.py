"""Command templates: `{text}` and its few siblings inside one argument of a transport's command.

Parsed once, when the configuration is read, so that a mistake is found there and not at a delivery.
Rendering puts values in and never looks into them: braces in a message stay braces.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.errors import ConfigError

FIELDS = ("text", "source", "agent", "stream_id", "project", "class", "message_file")

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")
_NAME = re.compile(r"\w+")


class TemplateError(ConfigError):
    """An argument holds a placeholder that means nothing; the message names the nearest known."""

    code = "template"


@dataclass(frozen=True, slots=True)
class Template:
    """One argument: literal text and field names by turns, as `(is_field, text)` pieces."""

    argument: str
    pieces: tuple[tuple[bool, str], ...]
    fields: frozenset[str] = field(init=False)
    """The names that `render` needs values for."""

    def __post_init__(self) -> None:
        """Say once what is asked at every delivery."""
        object.__setattr__(self, "fields", frozenset(piece for is_field, piece in self.pieces if is_field))

    def render(self, values: Mapping[str, str]) -> str:
        """The argument with its values put in as they are; KeyError for a name that `values` lacks."""
        return "".join(values[piece] if is_field else piece for is_field, piece in self.pieces)


def parse(argument: str) -> Template:
    """Read one argument of a command; TemplateError says what is wrong in it and what may have been meant."""
    pieces: list[tuple[bool, str]] = []
    for token in _TOKEN.findall(argument):
        if token in {"{{", "}}"}:
            pieces.append((False, token[0]))
        elif token in {"{", "}"}:
            raise TemplateError(
                f"command argument {argument!r}: a single {token!r} stands alone; "
                f"write {token * 2!r} for a brace that is meant as one"
            )
        elif token.startswith("{"):
            pieces.append((True, _field(argument, token[1:-1])))
        else:
            pieces.append((False, token))
    return Template(argument, tuple(pieces))


def _field(argument: str, inner: str) -> str:
    """The field name between two braces, if it is one."""
    if inner in FIELDS:
        return inner
    name = _NAME.match(inner.strip())
    bare = name.group() if name else ""
    if bare in FIELDS:
        raise TemplateError(
            f"command argument {argument!r}: write {{{bare}}} alone; attributes, indexes, conversions, "
            f"format specifications and spaces mean nothing in {{{inner}}}"
        )
    near = difflib.get_close_matches(bare.lower(), FIELDS, n=1, cutoff=0.0)[0] if bare else "text"
    known = " ".join(f"{{{field}}}" for field in FIELDS)
    raise TemplateError(
        f"command argument {argument!r}: {{{inner}}} is no placeholder; did you mean {{{near}}}? "
        f"Known are {known}; write {{{{ and }}}} for braces that are meant as such"
    )
