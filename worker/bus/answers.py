"""What an answer's status means: the table in docs/wire.md#answers-that-are-not-200, as a function."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from worker.bus.errors import (
    BadAnswerError,
    BusError,
    CoherenceError,
    ForbiddenError,
    IdentityError,
    NoSuchAgentError,
    NotFoundError,
    RateLimitedError,
    RedirectError,
    RequestRefusedError,
    ServerError,
    TlsError,
    UnauthorizedError,
    UnavailableError,
)
from worker.bus.wire import parse_object

_BY_STATUS: dict[int, tuple[type[BusError], str]] = {
    401: (
        UnauthorizedError,
        "The bus does not know this token (401). If this lasts, put a valid one into the token file.",
    ),
    403: (ForbiddenError, "The bus forbids this (403). Check agent, project and token."),
    404: (NotFoundError, "The bus has no such address (404); are bridge_url and bus_kind right?"),
    507: (
        RequestRefusedError,
        "This agent has used up its share of the bus, in bytes or streams (507). Messages over a week old make room.",
    ),
    503: (UnavailableError, "The bus is not available (503). Retrying."),
    429: (RateLimitedError, "The bus is limiting this token's requests (429). Waiting."),
}

_WITH_CODES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)

# As nginx and Go's net/http word it.
_WANTS_TLS = (b"plain HTTP request was sent to HTTPS port", b"sent an HTTP request to an HTTPS server")

_BY_CODE: dict[str, tuple[type[BusError], str]] = {
    "coherence_violation": (
        CoherenceError,
        "The bus wants this agent announced and alive first (403 coherence_violation).",
    ),
    "identity_binding_mismatch": (
        IdentityError,
        "The token belongs to another agent (403 identity_binding_mismatch). Check agent and token.",
    ),
    "not_agent_bound": (IdentityError, "The token is bound to no agent (403 not_agent_bound). Mint one for the agent."),
    "consumer_fenced": (
        ForbiddenError,
        "The pot lets another consumer alone read this inbox (409 consumer_fenced). Move the fence, or watch it there.",
    ),
    "inbox_full": (UnavailableError, "The recipient's inbox is full (409 inbox_full). Retrying."),
    "recipient_not_found": (NoSuchAgentError, "The pot knows no such agent (404 recipient_not_found)."),
    "send_target_not_visible": (
        NoSuchAgentError,
        "The pot knows no such agent, or lets this one not write to it (404 send_target_not_visible).",
    ),
    "recipient_ambiguous": (
        RequestRefusedError,
        "The pot has several agents of that name (409 recipient_ambiguous): write to the id.",
    ),
    "malformed_token_record": (
        IdentityError,
        "The bridge's record of this token names no agent (403 malformed_token_record). Ask for a new token.",
    ),
}


def failure_of(status: int, headers: Mapping[str, str], body: bytes | bytearray, now: datetime) -> BusError | None:
    """The error that an answer stands for; None for 200.

    `body` may be cut short; `now` is what a date in `Retry-After` is compared with.
    """
    if status == HTTPStatus.OK:
        return None
    if status == HTTPStatus.BAD_REQUEST and any(words in body for words in _WANTS_TLS):
        return TlsError("What answers at bridge_url speaks TLS: is it https://, and not http://? Retrying.")
    fields = _fields(body)
    known = _by_code(fields) if status in _WITH_CODES else None
    kind, sentence = known or _meaning(status)
    return kind(sentence, retry_after=_retry_after(headers, fields, now))


def _meaning(status: int) -> tuple[type[BusError], str]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in range(300, 400):
        return RedirectError, (
            f"The bus answered with a redirect ({status}), which is never followed with a token. "
            "Set bridge_url to the bridge's own address."
        )
    if status in range(400, 500):
        return RequestRefusedError, f"The bus refused the request ({status})."
    if status >= 500:
        return ServerError, f"The bus is failing ({status}). Retrying."
    return BadAnswerError, f"The bus answered with status {status}, which no bridge uses."


def _by_code(fields: Mapping[str, Any]) -> tuple[type[BusError], str] | None:
    return next((_BY_CODE[code] for code in sorted(_codes(fields) & _BY_CODE.keys())), None)


def _codes(fields: Mapping[str, Any]) -> set[str]:
    """Every string found where bridges put their error codes."""
    found: set[str] = set()
    for name in ("error", "code", "detail"):
        value = fields.get(name)
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, dict):
            found.update(inner for inner in value.values() if isinstance(inner, str))
    return found


def _fields(body: bytes | bytearray) -> dict[str, Any]:
    try:
        return parse_object(body)
    except BadAnswerError:
        return {}


def _retry_after(headers: Mapping[str, str], fields: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds from the header (a number or an HTTP date), else from the body; None when neither says."""
    header = headers.get("retry-after", "").strip()
    seconds = _number(header)
    if seconds is None and header:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            pass
        else:
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    if seconds is None:
        seconds = _number(fields.get("retry_after_seconds"))
    return None if seconds is None else max(0.0, seconds)


def _number(value: object) -> float | None:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
