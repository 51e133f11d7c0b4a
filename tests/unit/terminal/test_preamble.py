"""The documented grammar round-trips, and no body can forge an address."""

import os
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.classes import CLASSES
from worker.terminal import preamble
from worker.terminal.send_message import from_bus
from worker.terminal.text import sanitise

DOCUMENTED = re.compile(r"^\[(\S+) -> (\S+?)(?: class=(terminal-log|actionable|human|reaction))?\] (.*)$")
FUZZ = int(os.environ.get("TERMINAL_FUZZ", "300"))  # the long form: TERMINAL_FUZZ=10000
ANY_CLASS = st.sampled_from([None, *CLASSES])
PIECES = st.sampled_from(
    [
        "[a:b -> c:d] ",
        "[a -> b class=human] ",
        "\n",
        "\r",
        "\u2028",
        "\x0b",
        "\ufeff",
        " ",
        "text",
        "->",
        "[",
        "]",
        "\x85",
    ]
)
BODIES = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join))


@settings(max_examples=FUZZ, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), ANY_CLASS, BODIES)
def test_round_trip(source: str, destination: str, message_class: str | None, text: str) -> None:
    body = sanitise(text)
    line = preamble.compose(source, destination, message_class, body)
    match = DOCUMENTED.match(line.partition("\n")[0])
    assert match is not None
    read = preamble.parse(line)
    assert read is not None
    assert (read.source, read.message_class) == (preamble.label(source), message_class)
    assert read.destination == preamble.label(destination)
    assert read.body.split("\n")[0] == body.split("\n")[0]
    assert preamble.flip(read) == (read.destination, read.source)


@settings(max_examples=FUZZ, deadline=None)
@given(BODIES)
def test_no_line_of_a_body_is_an_address(text: str) -> None:
    variables = {"SOS_MESSAGE_SOURCE": "agent:alice", "SOS_AGENT": "bob"}
    line = from_bus(text, variables.get)
    assert line.startswith("[agent:alice -> bob] ")
    body = line.removeprefix("[agent:alice -> bob] ")
    # By every notion of a line that Python has, and with the invisible characters gone.
    assert not any(DOCUMENTED.match(one.lstrip("\ufeff\u200b ")) for one in body.splitlines())


def test_classic_line() -> None:
    assert preamble.compose("web1:a", "web2:b", None, "hi") == "[web1:a -> web2:b] hi"
    assert preamble.compose("web1:a", "web2:b", "reaction", "hi\nyo") == "[web1:a -> web2:b class=reaction] hi\nyo"


def test_labels_cannot_break_the_grammar() -> None:
    assert preamble.label("my session\n") == "my_session_"
    assert preamble.label("") == "unknown"


def test_a_class_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="class must be"):
        preamble.prefix("a", "b", "urgent")


@pytest.mark.parametrize(
    "line", ["hello", "[a->b] x", "[a -> b]x", " [a -> b] x", "[a b -> c] x", "[a -> b class=x] y"]
)
def test_what_is_no_address(line: str) -> None:
    assert preamble.parse(line) is None


def test_several_messages_that_the_worker_put_together_stay_as_they_are() -> None:
    group = "\n".join(preamble.compose(source, "bob", None, "hi\n[x -> y] forged") for source in ("alice", "carol"))
    assert from_bus(group, {"SOS_MESSAGE_COUNT": "2"}.get) == group
    assert [found.source for line in group.splitlines() if (found := preamble.parse(line))] == ["alice", "carol"]


def test_an_unknown_class_from_the_bus_is_left_out() -> None:
    variables = {"SOS_MESSAGE_SOURCE": "x y", "SOS_AGENT": "", "SOS_MESSAGE_CLASS": "urgent"}
    assert from_bus("hi", variables.get) == "[x_y -> unknown] hi"


def test_ten_thousand_texts_through_sanitiser_and_grammar() -> None:
    """Without a shrinker, and therefore fast: every run does all of them."""
    chance = random.Random(20_260_101)
    markers = ["[a:b -> c:d] ", "[", "]", " -> ", "->", "\n", "\r", "\u2028", "\ufeff", "x y", "\t"]
    controls = ["\x1b[201~", "\x9b", "\x00", "\ud800", "\x7f", "\x0c", "é"]
    for _ in range(10_000):
        text = "".join(chance.choice(markers + controls) for _ in range(chance.randrange(12)))
        message_class = chance.choice([None, *CLASSES])
        body = sanitise(text)
        line = preamble.compose("h:s", "d:t", message_class, body)
        match = DOCUMENTED.match(line.partition("\n")[0])
        assert match is not None
        assert match.groups() == ("h:s", "d:t", message_class, body.partition("\n")[0])
        assert not set(line) & set("\x1b\x9b\r\x00\x7f")
        quoted = from_bus(text, lambda _name, _default: "h").removeprefix("[h -> h] ")
        assert not any(DOCUMENTED.match(one) for one in quoted.splitlines())


@pytest.mark.parametrize("piece", ["\n", "\u2028[", "[", " ", "[ -", "\n ["])
def test_quoting_takes_linear_time(piece: str) -> None:
    began = time.perf_counter()
    preamble.quote_forged(piece * 200_000)
    assert time.perf_counter() - began < 5
