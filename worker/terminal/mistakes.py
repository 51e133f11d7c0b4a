"""A mistake in a profile file, in the words of somebody who writes one.

msgspec says what is wrong and where, as `$.table[2].key`. Promises: `explained` names the key and what it can be, with
the nearest one for a key that does not exist; `line_of` gives `:LINE` of a key where that can be told, else nothing.
Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_PATH = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_INDEX = re.compile(r"\[[^\]]*\]")
_HEADER = re.compile(r"\s*\[+([^\[\]]+)\]+\s*(?:#.*)?$")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What msgspec found."""

    what: str
    table: str
    """The table's name, dotted; empty: the top of the file."""
    key: str
    unknown: bool
    """Whether there is no such key."""
    number: int
    """Which of several tables of the name it is, from 0."""
    of_mapping: bool
    """Whether it is a value in a table of the writer's own words."""

    @classmethod
    def of(cls, said: str) -> "Mistake":
        """From the text of a `msgspec.ValidationError`."""
        found = _PATH.search(said)
        what, path = (said[: found.start()], found.group(1)) if found is not None else (said, "")
        words = [one for one in _INDEX.sub("", path).split(".") if one]
        unknown = _UNKNOWN.match(what)
        words += [unknown.group(1)] if unknown is not None else []
        number = re.search(r"\[(\d+)\]", path)
        return cls(
            what=what,
            table=".".join(words[:-1]),
            key=words[-1] if words else "",
            unknown=unknown is not None,
            number=int(number.group(1)) if number is not None else 0,
            of_mapping="[...]" in path,
        )

    def explained(self, data: Mapping[str, Any], tables: Mapping[str, type[msgspec.Struct]]) -> str:
        """The sentence.

        Args:
            data: the file.
            tables: what the language has, by dotted name.
        """
        place = f" in [{self.table}]" if self.table else ""
        if self.unknown:
            import difflib  # noqa: PLC0415 - only a mistake pays for it

            keys = tables[self.table].__struct_fields__ if self.table in tables else ()
            near = difflib.get_close_matches(self.key, keys, 1)
            meant = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(keys)}"
            return f"unknown key `{self.key}`{place}; {meant}"
        if self.of_mapping:
            return f"`{self.key}`{place} must map texts to texts: {_lowered(self.what)}"
        value: Any = data
        for word in [*self.table.split("."), self.key]:
            value = value[min(self.number, len(value) - 1)] if isinstance(value, list) and value else value
            value = value.get(word, value) if isinstance(value, dict) else value
        return f"`{self.key}`{place} is {value!r}: {_lowered(self.what)}"

    def line_in(self, text: str) -> str:
        """`:LINE` of the key in the file, or nothing."""
        return line_of(text, self.table, self.key, self.number)


def line_of(text: str, table: str, key: str, number: int = 0) -> str:
    """`:LINE` of a key, or nothing; of the table's header if the key is empty; `number`: which table of the name."""
    header, seen = "", -1
    whole = f"{table}.{key}" if table and key else table or key
    for line, row in enumerate(text.splitlines(), 1):
        if (found := _HEADER.match(row)) is not None:
            header = found.group(1).strip()
            seen += header == table
            if header == whole and seen in {-1, number}:  # the key is a table itself, or it is the table that is meant
                return f":{line}"
        here = header == table and seen in {-1, number}
        if here and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", row):
            return f":{line}"
    return ""


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
