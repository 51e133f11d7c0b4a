"""Redaction: every form of a secret is found, nothing of it stays, and ordinary text is left alone."""

import base64
import json
import string
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import secret
from worker.secret import Secret
from worker.telemetry.redact import MASK, SHORTEST, Redactor, redact

CANARY = 'cAn4ry/+"\\%~tok=en-value_9'
tokens = st.text(st.sampled_from(string.ascii_letters + string.digits + string.punctuation), min_size=8, max_size=60)


@pytest.fixture(autouse=True)
def no_other_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret, "_values", {})


def forms(value: str) -> list[str]:
    raw = value.encode()
    return [
        value,
        json.dumps(value),
        json.dumps(value).replace("/", "\\/"),
        repr(value),
        quote(value),
        quote(value, safe=""),
        quote_plus(value).lower() if value.islower() else quote_plus(value),
        *(base64.b64encode(b"user:pass"[:n] + raw + b"after").decode() for n in range(6)),
        *(base64.urlsafe_b64encode(b"abcdef"[:n] + raw).decode() for n in range(6)),
    ]


@pytest.mark.parametrize("form", forms(CANARY))
def test_every_form_is_replaced(form: str) -> None:
    Secret(CANARY)
    shown = redact(f"before {form} after")
    assert MASK in shown
    assert form.strip("\"'") not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@given(tokens, st.binary(max_size=7), st.binary(max_size=7))
def test_no_base64_of_a_text_with_a_token_survives(token: str, before: bytes, after: bytes) -> None:
    Secret(token)
    encoded = base64.b64encode(before + token.encode() + after).decode()
    left = redact(f"[{encoded}]")
    for start in range(3):  # what is left decodes to nothing of the token
        kept = "".join(c for c in left[1:-1].replace(MASK, "") if c.isalnum() or c in "+/")[start:]
        assert token.encode() not in base64.b64decode(
            kept + "=" * (-len(kept) % 4) if len(kept) % 4 != 1 else kept[:-1]
        )
    assert left in {f"[{MASK}]", f"[{MASK}=]", f"[{MASK}==]"}


def test_base64_as_the_command_wraps_it_is_found() -> None:
    Secret(CANARY)
    wrapped = base64.encodebytes(b"x" * 50 + CANARY.encode() + b"y" * 50).decode()
    assert wrapped.count("\n") > 1
    shown = redact(wrapped)
    for value in forms(CANARY):
        assert value not in shown.replace("\n", "")
    assert MASK in shown


def test_a_token_that_a_terminal_wrapped_is_found() -> None:
    Secret(CANARY)
    assert redact(f"a {CANARY[:9]}\r\n{CANARY[9:]} b") == f"a {MASK} b"


def test_a_secret_that_begins_with_another_leaves_no_rest() -> None:
    for value in ("pre-fix", "pre-fix/and-more", "and-more"):
        Secret(value)
    assert redact("got pre-fix/and-more here") == f"got {MASK} here"


def test_the_value_that_a_rotation_replaced_is_still_known() -> None:
    redactor = Redactor()
    Secret("the-first-token-1")
    assert redactor("the-first-token-1") == MASK
    Secret("the-second-token-2")
    assert redactor("the-first-token-1 the-second-token-2") == f"{MASK} {MASK}"


def test_a_table_that_is_full_forgets_the_value_that_was_used_longest_ago() -> None:
    lasting = Secret("the-lasting-token")
    Secret("the-oldest-token")
    for number in range(secret.REMEMBERED - 1):
        Secret(f"rotated-token-{number}")
        lasting.reveal()
    assert redact("the-lasting-token") == MASK
    assert len(secret.known_values()) == secret.REMEMBERED
    assert redact("the-oldest-token") == "the-oldest-token"


def test_a_short_value_does_not_blank_out_the_log() -> None:
    Secret("tok")
    assert len("tok") < SHORTEST
    assert redact("the stock took a token: tok") == "the stock took a token: tok"
    assert redact("Authorization: Bearer tok") == f"Authorization: {MASK}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer sk-unknown", f"Authorization: {MASK}"),
        ('{"Authorization": "Bearer sk-unknown", "a": 1}', f'{{"Authorization": "{MASK}", "a": 1}}'),
        ("authorization=Basic dXNlcjpw and more", f"authorization={MASK} and more"),
        ("(b'x', b'Bearer sk-unknown-1')", f"(b'x', b'Bearer {MASK}')"),
        ("GET https://user:secret@example.org/p?q", f"GET https://{MASK}@example.org/p?q"),
        ("https://public@o1.ingest.sentry.io/2", f"https://{MASK}@o1.ingest.sentry.io/2"),
        ("http://localhost:6380/inbox?agent=a", "http://localhost:6380/inbox?agent=a"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_what_is_secret_by_its_place(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_half_a_token_at_either_end_of_what_was_cut_off_is_hidden() -> None:
    Secret(CANARY)
    for cut in range(1, len(CANARY) - SHORTEST + 1):
        assert redact.tail(f"{CANARY[cut:]} rest") == f"{MASK} rest"
        assert redact.tail(f"start {CANARY[:-cut]}") == f"start {MASK}"
        assert redact.tail(f"{CANARY[cut:]} {CANARY} {CANARY[:-cut]}") == f"{MASK} {MASK} {MASK}"
    encoded = base64.b64encode(CANARY.encode()).decode()
    assert encoded[6:-3] not in redact.tail(encoded[6:] + " rest")
    for short in ("", "a", CANARY[-3:], CANARY[:3]):
        assert redact.tail(short) == short


def test_what_a_transport_prints_around_a_token_costs_no_time() -> None:
    Secret(CANARY)
    encoded = base64.b64encode(CANARY.encode()).decode()
    hostile = "A" * 300_000
    before = time.monotonic()
    for text in (
        f"{hostile} {encoded}",
        f"{hostile}{encoded}{hostile}",
        f"{CANARY} {'://' * 100_000} {'Bearer ' * 40_000} {'authorization:' * 20_000}",
        f"{encoded} {(encoded[:-5] + chr(10)) * 10_000}",
    ):
        assert CANARY not in redact(text)
        assert encoded not in redact.tail(text)
    assert time.monotonic() - before < 20  # quadratic would be hours


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    Secret(CANARY)
    once = redact(text)
    assert redact(once) == once
