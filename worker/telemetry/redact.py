"""The one place that takes secrets out of text: logs, errors, events, recorded output and `show` all come through here.

It knows every value that a `worker.secret.Secret` of this process has held, as it is and in the forms in which other
programs print it: base64 (both alphabets, at each of the three alignments), URL-encoded, escaped for JSON or by
Python. Beside these it hides what is a secret by its place alone: `Bearer ...`, `Authorization: ...`, `user:pass@`.
"""

import base64
import json
import re
import string
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from worker.secret import known_values

MASK = "***"

SHORTEST = 6
"""Values of fewer characters are not looked for: `ok` or `abc` would blank out half the log and protect nothing, for
whoever can try four characters needs no log. They are still hidden after `Bearer` and `Authorization`."""

_BASE64 = frozenset(string.ascii_letters + string.digits + "+/_-")
_LINE_BREAK = r"(?:\r?\n)?"  # terminals and `base64` wrap lines, anywhere
_BY_PLACE = (
    (re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:(bearer|basic|token|digest)\s+)?[^\s\"',;}]+"),
     rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/%=-]{4,}"), rf"\1{MASK}"),
    (re.compile(r"(://)[^\s/@\"'<>?#]+@"), rf"\1{MASK}@"),
)  # fmt: skip


class _Needle:
    """One form of one secret. `in_base64`: it may be a part of a longer text in base64, which is then masked whole."""

    __slots__ = ("in_base64", "pattern", "text")

    def __init__(self, text: str, *, in_base64: bool = False) -> None:
        self.text = text
        self.pattern = re.compile(_LINE_BREAK.join(map(re.escape, text)))
        self.in_base64 = in_base64

    def mask(self, text: str) -> str:
        """The text with each occurrence replaced; in linear time, whatever a transport printed around it."""
        parts, end = [], 0
        for found in self.pattern.finditer(text):
            start, stop = found.span()
            if stop <= end:
                continue  # within what was masked already
            if self.in_base64:
                while start > end and text[start - 1] in _BASE64:
                    start -= 1
                while stop < len(text) and text[stop] in _BASE64:
                    stop += 1
            parts += [text[end : max(start, end)], MASK]
            end = stop
        return "".join([*parts, text[end:]])


class Redactor:
    """Redacts; keeps its table of forms until a new secret turns up. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self._needles: tuple[_Needle, ...] = ()

    def __call__(self, text: str) -> str:
        """The text with every known secret, and everything that stands where secrets stand, replaced by `***`."""
        squeezed = text.replace("\r", "").replace("\n", "") if "\n" in text else text
        for needle in self._table():
            if needle.text in squeezed:
                text = needle.mask(text)
        for pattern, replacement in _BY_PLACE:
            text = pattern.sub(replacement, text)
        return text

    def tail(self, text: str) -> str:
        """Like calling it, for text that was cut off: half a secret at its beginning or its end is hidden as well."""
        if not text:  # most transports print nothing
            return text
        for needle in self._table():
            text = _without_halves(text, needle.text)
        return self(text)

    def everywhere(self, value: Any) -> Any:
        """The same value with every text in it redacted, keys included; for what becomes JSON."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self.everywhere(key): self.everywhere(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.everywhere(item) for item in value]
        return value

    def _table(self) -> tuple[_Needle, ...]:
        known = known_values()
        with self._lock:
            if len(known) != len(self._values) or not self._values.issuperset(known):
                self._values = frozenset(known)
                found = [needle for value in known if len(value) >= SHORTEST for needle in _needles(value)]
                # Longer ones first: a secret may begin with another, whose mask would leave the rest of it.
                self._needles = tuple(sorted(found, key=lambda one: (one.in_base64, -len(one.text))))
            return self._needles


def _without_halves(text: str, secret: str) -> str:
    """The text, masked where it begins with the rest of the secret or ends with its start."""
    if len(text) < SHORTEST:
        return text
    at = secret.find(text[:SHORTEST], 1)
    while at > 0:
        if text.startswith(secret[at:]):
            text = MASK + text[len(secret) - at :]
            break
        at = secret.find(text[:SHORTEST], at + 1)
    at = secret.rfind(text[-SHORTEST:], 0, len(secret) - 1)
    while at >= 0:
        if text.endswith(secret[: at + SHORTEST]):
            return text[: len(text) - at - SHORTEST] + MASK
        at = secret.rfind(text[-SHORTEST:], 0, at + SHORTEST - 1)
    return text


def _needles(value: str) -> Iterator[_Needle]:
    """The forms of a secret."""
    plain = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value)[1:-1].replace("/", "\\/"),
        repr(value)[1:-1],
        *_url_encoded(value),
    }
    for text in plain:
        yield _Needle(text)
    for text in sorted(_base64(value.encode())):
        yield _Needle(text, in_base64=True)


def _url_encoded(value: str) -> Iterator[str]:
    for safe in ("", "/", "!*'()", "/:@"):  # everything; Python's quote; encodeURIComponent; a path
        encoded = quote(value, safe=safe)
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)


def _base64(value: bytes) -> Iterator[str]:
    """What stays the same of a value's base64 whatever comes before and after it, one for each alignment.

    The characters at the seams mix in bits of the neighbours: the pattern takes them along.
    """
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + value).decode()
        whole = encoded[(0, 2, 3)[before] : (before + len(value)) * 8 // 6]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")


redact = Redactor()
