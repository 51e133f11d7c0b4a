"""The one type that holds a token: it does not print, compare loosely, pickle or format itself.

Each value that was ever held is remembered, so that redaction knows every token, those that a rotation replaced
included, and nobody can forget to tell it.
"""

import hmac
import threading
from typing import Any, Never

REMEMBERED = 256  # values; a worker that rotates its tokens for years forgets the oldest

_lock = threading.Lock()
_values: dict[str, None] = {}  # in order of last use


def known_values() -> tuple[str, ...]:
    """The values of the secrets that this process has held, for `worker.telemetry.redact` alone."""
    with _lock:
        return tuple(_values)


def _remember(value: str) -> None:
    with _lock:
        _values.pop(value, None)
        _values[value] = None
        if len(_values) > REMEMBERED:
            del _values[next(iter(_values))]


class Secret:
    """A token. `reveal()` is the only way to its value; every other rendering is `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if value:
            _remember(value)

    def reveal(self) -> str:
        """The value, for the one place that must send it."""
        if self._value:
            _remember(self._value)
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __reduce__(self) -> Never:
        raise TypeError("a Secret is never serialized")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let the settings hold one: a string in the file becomes a Secret."""
        from pydantic_core import core_schema  # noqa: PLC0415 - only the settings need pydantic here

        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))
