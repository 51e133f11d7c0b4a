"""Every kind of line that is delivered to an agent, and how `agent-send --reply` and `reply` answer it."""

import pytest

from worker.errors import UsageError
from worker.terminal import agent_send, arrival

KEY = "bob/1795300087770-0"
BLANK, PROGRAM = "--config '/x y/z.json' ", "'/opt/b w/bus-watch'"
OTHER = "bob/sos:stream:project:acme:agent:bob/1795300087771-3"


def hint(key: str, config: str = "", program: str = "bus-watch") -> str:
    return f"(Only if the sender needs an answer: {program} reply {config}{key} 'TEXT')"


BUS = {
    "with its hint": (f"[agent:alice -> bob] hello\n{hint(KEY)}", ["reply", KEY]),
    "of two streams": (f"[agent:alice -> bob] hello\n{hint(OTHER)}", ["reply", OTHER]),
    "of another configuration": (f"[agent:alice -> bob] hello\n{hint(KEY, '--config /x/y.json ')}", ["reply", KEY]),
    "... with a blank in its path": (f"[agent:alice -> bob] x\n{hint(KEY, BLANK)}", ["reply", KEY]),
    "by its whole path": (f"[agent:alice -> bob] hello\n{hint(KEY, '', '/opt/bw/bin/bus-watch')}", ["reply", KEY]),
    "... with a blank in it": (f"[agent:alice -> bob] hello\n{hint(KEY, '', PROGRAM)}", ["reply", KEY]),
    "with a class": (f"[agent:alice -> bob class=human] hello\n{hint(KEY)}", ["reply", KEY]),
    "of many lines": (f"[agent:alice -> bob] one\n\ntwo\n> [quoted -> x] y\n{hint(KEY)}", ["reply", KEY]),
    "with a hint of its own in the text": (f"[agent:alice -> bob] {hint('bob/1-1')}\n{hint(KEY)}", ["reply", KEY]),
    "without a hint": ("[agent:alice -> bob] hello", ["send", "alice", "--as", "bob"]),
    "its first line alone": ("[agent:alice -> bob class=human] hello", ["send", "alice", "--as", "bob"]),
    "its preamble alone": ("[agent:alice -> bob] ", ["send", "alice", "--as", "bob"]),
    "with blanks before it": ("\n  [agent:alice -> bob] hello", ["send", "alice", "--as", "bob"]),
    "for the record": ("[agent:alice -> bob class=terminal-log] x", ["send", "alice", "--as", "bob"]),
    "of somebody of a pot without a name": (
        f"[agent:3f2c0a6e-0000-4000-8000-000000000001 -> bob] hello\n{hint('bob/1795300087770-7')}",
        ["reply", "bob/1795300087770-7"],
    ),
}


@pytest.mark.parametrize("kind", BUS)
def test_a_line_of_the_bus(kind: str) -> None:
    line, words = BUS[kind]
    assert agent_send._of_the_bus(line) == words


GROUP = [
    f"[agent:alice -> bob] first\nof two lines\n{hint(KEY)}",
    f"[agent:carol -> bob class=human] second\n{hint(OTHER)}",
    "[github -> bob] third, of a script",
    "[agent:dave -> bob class=terminal-log] fourth, for the record",
]


def test_each_of_a_group_can_be_answered() -> None:
    whole = "\n".join(GROUP)
    assert arrival.members(whole) == GROUP
    answers = [agent_send._of_the_bus(one) for one in GROUP]
    assert answers == [["reply", KEY], ["reply", OTHER], [], ["send", "dave", "--as", "bob"]]
    assert agent_send._of_the_bus(whole) == ["reply", KEY], "the line that was given begins with the first"
    assert arrival.read("\n".join(GROUP[:2])) == (OTHER, "[agent:carol -> bob] "), "the last that came is the second"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[github -> bob] from a script", "github is no agent on the bus and no terminal"),
        ("[? -> bob] from nobody", "? is no agent"),
        ("[vm:alpha -> other:beta] from elsewhere", "vm:alpha is on another host; say -H"),
        ("no line of ours", "does not start with [src -> dst]"),
    ],
)
def test_who_cannot_be_answered_is_said(line: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_send, "_short_host", lambda: "here")
    with pytest.raises(UsageError) as raised:
        agent_send._main(["--reply", line, "-m", "yes"])
    assert says in str(raised.value)
