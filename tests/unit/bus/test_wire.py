"""Reading pages: what other writers can put there, and what nobody should."""

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bus.errors import BadAnswerError, TooLargeError
from worker.bus.page import PageReader, parse_page
from worker.bus.wire import LARGEST_ID_PART, InboxMessage, as_text, stream_name


def page_of(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"agent": "bob", "project": None, "messages": list(messages)} | fields).encode()


def item(message_id: str = "5-0", **fields: Any) -> dict[str, Any]:
    return {"id": message_id, "source": "agent:alice", "text": "x"} | fields


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.text(alphabet='{}[]",\\: \x00\x1b\ud800', max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
ids = st.builds(lambda ms, seq: f"{ms}-{seq}", st.integers(0, LARGEST_ID_PART), st.integers(0, 20))
hostile_items = json_values | st.fixed_dictionaries(
    {"id": ids | json_values},
    optional=dict.fromkeys(
        ("stream", "stream_id", "source", "sender", "text", "class", "project", "timestamp"), json_values
    ),
)


@given(messages=st.lists(hostile_items, max_size=8), ascii_only=st.booleans())
def test_whatever_the_items_are_good_ones_come_through(messages: list[Any], ascii_only: bool) -> None:
    good = item("77-7", text="good", stream="only:here")
    answer = {"agent": "bob", "messages": [*messages, good], "z": [{}, "]}"]}
    body = json.dumps(answer, ensure_ascii=ascii_only).encode("utf-8", "replace")
    page = parse_page(body, "bob", None)
    assert page.raw_count == len(messages) + 1
    assert any(message.text == "good" for message in page.messages)
    assert len(page.messages) + len(page.malformed) <= page.raw_count
    order = [(message.ms, message.seq, message.stream) for message in page.messages]
    assert order == sorted(set(order))
    for message in page.messages:
        for field in (message.stream, message.source, message.text, message.timestamp or ""):
            field.encode()  # no lone surrogate is left, so it can be stored and passed on
        assert message.ms <= LARGEST_ID_PART
        assert message.seq <= LARGEST_ID_PART


@given(messages=st.lists(st.fixed_dictionaries({"id": ids, "text": json_values}), max_size=8))
def test_texts_are_what_python_would_read(messages: list[dict[str, Any]]) -> None:
    """Cutting items out by hand agrees with decoding the page as a whole."""
    body = page_of(*messages)
    first: dict[str, str] = {}
    for message in json.loads(body)["messages"]:
        first.setdefault(message["id"], as_text(message["text"]))
    page = parse_page(body, "bob", None)
    assert {message.message_id: message.text for message in page.messages} == first


@given(body=st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ am"essg', max_size=60).map(str.encode))
def test_garbage_is_refused_or_read_but_never_worse(body: bytes) -> None:
    try:
        page = parse_page(body, "bob", None)
    except BadAnswerError:
        return
    assert page.raw_count >= len(page.messages)


@given(cut=st.integers(min_value=1), messages=st.lists(st.fixed_dictionaries({"id": ids, "text": json_values})))
def test_a_page_cut_short_is_never_taken_for_a_whole_one(cut: int, messages: list[Any]) -> None:
    body = page_of(*messages)
    with pytest.raises(BadAnswerError):
        parse_page(body[: -(cut % len(body)) or -1], "bob", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"null",
        b"[]",
        b'"messages"',
        b"<html>{}</html>",
        b'{"messages": []} {}',
        b'{"messages": []}x',
        b'x{"messages": []}',
        b'{"messages": {}}',
        b'{"messages": null}',
        b'{"agent": "bob"}',
        b'{"inner": {"messages": []}}',
        b'{"messages": ["',
        b'{"messages": [{"id": "5-0", "text": "}]}',
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        parse_page(body, "bob", None)


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf {"messages" : [ ] }\n', b'{"project":null,"messages":[\n]}'])
def test_an_empty_page_is_empty(body: bytes) -> None:
    page = parse_page(body, "bob", None)
    assert (page.messages, page.raw_count, page.malformed) == ((), 0, ())


@pytest.mark.parametrize(
    ("message_id", "reason"),
    [
        ("5", "not MS-SEQ"),
        ("5-", "not MS-SEQ"),
        ("05-0", "not MS-SEQ"),
        ("5-0\n", "not MS-SEQ"),
        ("\u0665-0", "not MS-SEQ"),
        ("-5-0", "not MS-SEQ"),
        (5.0, "not MS-SEQ"),
        (["5-0"], "not MS-SEQ"),
        (None, "no id"),
        ("9223372036854775808-0", "2^63-1"),
        ("5-18446744073709551615", "not MS-SEQ"),
    ],
)
def test_ids_that_no_ledger_could_hold_are_reported(message_id: Any, reason: str) -> None:
    page = parse_page(page_of(item(), {"id": message_id, "text": "secret text"}), "bob", None)
    assert [message.message_id for message in page.messages] == ["5-0"]
    assert len(page.malformed) == 1
    assert reason in page.malformed[0]
    assert "item 2" in page.malformed[0]
    assert "secret text" not in page.malformed[0]


def test_an_item_too_deep_to_decode_costs_only_itself() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    body = b'{"messages": [{"id": "4-0", "text": ' + deep + b'}, {"id": "5-0", "text": "good"}]}'
    page = parse_page(body, "bob", None)
    assert [message.text for message in page.messages] == ["good"]
    assert page.raw_count == 2
    assert len(page.malformed) == 1


def test_a_number_too_long_for_python_is_text() -> None:
    digits = "9" * 5_000
    page = parse_page(b'{"messages": [{"id": "5-0", "text": ' + digits.encode() + b"}]}", "bob", None)
    assert page.messages[0].text == digits


def test_control_characters_and_broken_utf8_are_read_as_far_as_they_go() -> None:
    page = parse_page(b'{"messages": [{"id": "5-0", "text": "a\x01\n\xff\xed\xa0\x80b"}]}', "bob", None)
    assert page.messages[0].text.startswith("a\x01\n\ufffd")
    assert page.messages[0].text.endswith("b")


def test_no_field_keeps_a_lone_surrogate() -> None:
    names = ("stream", "source", "text", "class", "project", "timestamp")
    page = parse_page(page_of({"id": "5-0"} | dict.fromkeys(names, "a\udc80b")), "bob", None)
    message = page.messages[0]
    assert {
        *(message.stream, message.source, message.text, message.message_class, message.project, message.timestamp)
    } == {"a\ufffdb"}
    assert parse_page(page_of({"id": "5-0", "text": {"k": "\ud800"}}), "bob", None).messages[0].text == '{"k":"\ufffd"}'


@pytest.mark.parametrize(
    ("asked", "fields", "stream"),
    [
        (None, {"project": None}, "sos:stream:global:agent:bob"),
        ("acme", {"project": None}, "sos:stream:global:agent:bob"),
        ("acme", {"project": ""}, "sos:stream:global:agent:bob"),
        ("acme", {"project": "other"}, "sos:stream:project:other:agent:bob"),
        (None, {"project": "other"}, "sos:stream:project:other:agent:bob"),
        ("acme", {"project": 7}, "sos:stream:project:acme:agent:bob"),
    ],
)
def test_a_nameless_stream_is_named_by_the_project_that_was_really_read(
    asked: str | None, fields: dict[str, Any], stream: str
) -> None:
    page = parse_page(page_of(item(), **fields), "bob", asked)
    assert page.messages[0].stream == stream
    assert page.names_streams is False


def test_a_page_without_a_project_is_named_by_the_one_asked_for() -> None:
    page = parse_page(b'{"messages": [{"id": "5-0"}]}', "bob", "acme")
    assert page.messages[0].stream == stream_name("bob", "acme") == "sos:stream:project:acme:agent:bob"


def test_the_same_id_in_two_streams_is_two_messages() -> None:
    page = parse_page(page_of(item(stream="b"), item(stream="a"), item(stream="a", text="again")), "bob", None)
    assert [(message.stream, message.text) for message in page.messages] == [("a", "x"), ("b", "x")]
    assert page.names_streams is True


@pytest.mark.parametrize(("value", "expected"), [("human", "human"), ("", None), (5, None), ("x" * 65, None)])
def test_a_class_is_taken_as_sent_or_not_at_all(value: Any, expected: str | None) -> None:
    page = parse_page(page_of(item() | {"class": value}), "bob", None)
    assert page.messages[0].message_class == expected


@given(messages=st.lists(hostile_items, max_size=6), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_it_does_not_matter_where_the_pieces_of_a_page_end(messages: list[Any], sizes: list[int]) -> None:
    body = page_of(*messages, z=[{}, "]}"])
    reader = PageReader("bob", None, longest_item=len(body))
    at = 0
    for size in itertools.cycle(sizes):
        reader.feed(body[at : at + size])
        at += size
        if at >= len(body):
            break
    assert reader.close() == parse_page(body, "bob", None)


def test_the_oldest_that_fit_are_kept_and_the_known_need_no_room() -> None:
    items = [item(f"{number}-0", text="x" * 1000) for number in range(50, 0, -1)]
    asked: list[str] = []

    def known(messages: Sequence[InboxMessage]) -> set[tuple[str, str]]:
        asked.extend(message.message_id for message in messages)
        return {message.key for message in messages if message.ms <= 20}

    reader = PageReader("bob", None, longest_item=10_000, room=16_000, known=known)
    reader.feed(page_of(*items))
    page = reader.close()
    assert [message.ms for message in page.messages] == list(range(21, 31))
    assert page.more
    assert page.oldest == (1, 0)
    assert page.raw_count == len(asked) == 50


def test_a_message_is_kept_however_little_room_there_is() -> None:
    reader = PageReader("bob", None, longest_item=10_000, room=1)
    reader.feed(page_of(item("7-0", text="x" * 1000), item("5-0"), item("6-0")))
    page = reader.close()
    assert ([message.ms for message in page.messages], page.more) == ([5], True)


def feed(reader: PageReader, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        reader.feed(piece)


def test_an_entry_without_an_end_is_not_waited_for() -> None:
    reader = PageReader("bob", None, longest_item=1000)
    with pytest.raises(TooLargeError, match="max_page_bytes"):
        reader.feed(b'{"messages": [' + b" " * 2000)
    reader = PageReader("bob", None, longest_item=1000)
    with pytest.raises(TooLargeError):
        feed(reader, [b"no page"] * 1000)


def test_a_project_named_behind_the_items_is_theirs() -> None:
    page = parse_page(b'{"messages": [{"id": "5-0"}], "project": "acme"}', "bob", None)
    assert page.messages[0].stream == stream_name("bob", "acme")
