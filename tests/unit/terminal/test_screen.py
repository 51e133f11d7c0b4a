"""Screens as tmux captures them, judged by profiles: the states of a box, and what must never pass for idle."""

import pytest
from msgspec.structs import replace

from tests.screens.drawn import look
from worker.terminal import cells, ours, screen
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.profiles import Profile, parse
from worker.terminal.tmux import Look

RULE = "─" * 40
MARK = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
CLAUDE = load("claude", [SHIPPED])
AIDER = load("aider", [SHIPPED])
IPYTHON = load("ipython", [SHIPPED])
PI = load("pi", [SHIPPED])


def claude(box: str, *above: str, cursor: int = 2, title: str = "✳ Claude") -> Look:
    return look(*above, RULE, box, RULE, "  ? for shortcuts", cursor=(cursor, len(above) + 1), on=False, title=title)


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        (claude(MARK), "idle"),
        (claude(f"{MARK} "), "idle"),
        (claude(f"{MARK} \x1b[2mTry something\x1b[0m"), "idle"),
        (claude(f"{MARK} \x1b[7mT\x1b[0m\x1b[2mry something\x1b[0m"), "idle"),
        (claude(f"{MARK} hello", cursor=7), "draft"),
        (claude(f"{MARK} hello"), "draft"),
        (claude(f"{MARK} \x1b[2mdim\x1b[0mbright"), "draft"),
        (claude(f"{MARK} ", cursor=5), "draft"),
        (claude(MARK, "* Thinking (esc to interrupt)"), "busy"),
        (claude(MARK, title="⠂ Claude"), "busy"),
        (claude(f"{MARK} draft", "* Thinking (esc to interrupt)", cursor=7), "draft"),
        (look("", RULE, " Do you want to proceed?", f" {MARK} 1. Yes", "   2. No", "", " Esc to cancel"), "dialog"),
        (look("some program's output", "$ "), "unknown"),
        (look(), "unknown"),
        (look(RULE, f"{MARK} cut off below"), "unknown"),
        (look(f"{MARK} an old message", "", "no box"), "unknown"),
    ],
)
def test_claude(shown: Look, state: str) -> None:
    seen = screen.judge(shown, CLAUDE)
    assert seen.state == state, seen
    assert seen.why


def test_a_dialogs_words_in_the_box_are_no_dialog() -> None:
    seen = screen.judge(claude(f"{MARK} Do you want to proceed? Esc to cancel", cursor=30), CLAUDE)
    assert seen.state == "draft"
    assert screen.judge(claude(MARK, "  he said: Do you want to?"), CLAUDE).state == "idle"


def test_queued() -> None:
    seen = screen.judge(claude(MARK, f"  {MARK} later", "  Press up to edit queued messages", title="⠂ x"), CLAUDE)
    assert (seen.state, seen.queued) == ("busy", True)
    assert "later" in seen.outside


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        (look("In [1]:", cursor=(8, 0)), "idle"),
        (look("In [1]: 1 + 1", "Out[1]: 2", "", "In [12]:", cursor=(9, 3)), "idle"),
        (look("In [1]: x = 1", cursor=(13, 0)), "draft"),
        (look("In [1]: x = 1", cursor=(8, 0)), "draft"),
        (look("In [1]: for x in y:", "   ...:     pass", "   ...:", cursor=(8, 2)), "draft"),
        (look("[ins] In [1]:", cursor=(14, 0)), "idle"),
        (look("[ins] In [1]: x", cursor=(15, 0)), "draft"),
        (look("[nav] In [1]:", cursor=(14, 0)), "busy"),
        (look("In [1]: time.sleep(9)", cursor=(0, 1)), "busy"),
        (look("just output", cursor=(0, 1)), "busy"),
    ],
)
def test_ipython(shown: Look, state: str) -> None:
    assert screen.judge(shown, IPYTHON).state == state


def test_a_box_without_a_prompt_between_rules() -> None:
    assert screen.judge(look("hello", RULE, "", RULE, "footer", cursor=(0, 2)), PI).state == "idle"
    assert screen.judge(look("hello", RULE, "typed", RULE, "footer", cursor=(5, 2)), PI).state == "draft"
    assert screen.judge(look("Working...", RULE, "", RULE, cursor=(0, 2)), PI).state == "busy"


SIGNS = """
name = "t"
[process]
commands = ["t"]
[composer]
start = '^> '
muted = ["90", "38;5;8", "38;2;1;2;3"]
[[signs]]
state = "dialog"
title = '^!'
cursor = "off"
"""


def _profile(more: str = "") -> Profile:
    return parse("t", SIGNS + more, "t.toml")


def test_all_conditions_of_a_sign_must_hold() -> None:
    base = look("> ", cursor=(2, 0), title="!", on=False)
    assert screen.judge(base, _profile()).state == "dialog"
    assert screen.judge(replace(base, cursor_on=True), _profile()).state == "idle"
    assert screen.judge(replace(base, title="x!"), _profile()).state == "idle"


@pytest.mark.parametrize("code", ["2", "90", "38;5;8", "38:5:8", "38;2;1;2;3", "1;2", "0;90"])
def test_muted_colours_are_placeholders(code: str) -> None:
    assert screen.judge(look(f"> \x1b[{code}mhint\x1b[0m", cursor=(2, 0)), _profile()).state == "idle"


@pytest.mark.parametrize("code", ["0", "1", "22", "2;22", "90;39", "38;5;7", "48;5;8", "38;2;1;2;4", "91", "2;0"])
def test_other_colours_are_drafts(code: str) -> None:
    assert screen.judge(look(f"> \x1b[{code}mhint\x1b[0m", cursor=(2, 0)), _profile()).state == "draft"


def test_colours_carry_over_to_the_next_line() -> None:
    rows = cells.rows_of("\x1b[2mdim\nstill\x1b[0mnot")
    assert rows[1].text == "stillnot"
    assert [cell.style.dim for cell in rows[1].cells] == [True] * 5 + [False] * 3


@pytest.mark.parametrize(
    ("draft", "text", "told"),
    [
        ("hello", "hello", "whole"),
        ("hel\n  lo wor\nld", "hello world", "whole"),
        ("the end of a long message", "a start, and then the end of a long message", "tail"),
        ("x", "a b c x", ""),
        ("", "hello", ""),
        ("other", "hello", ""),
        ("their hello", "hello", "mixed"),
        ("hello theirs", "hello", "mixed"),
        ("[Pasted text #1 +3 lines]", "1\n2\n3\n4", "collapsed"),
        ("[Pasted text #2]", "x" * 900, "collapsed"),
        ("[Pasted text #1 +30 lines]", "1\n2\n3\n4", ""),
        ("theirs [Pasted text #1 +3 lines]", "1\n2\n3\n4", "mixed"),
    ],
)
def test_whose_draft_it_is(draft: str, text: str, told: str) -> None:
    assert CLAUDE.composer is not None
    assert ours.compare(draft, text, CLAUDE.composer) == told


def test_a_prompt_on_each_row_is_one_box() -> None:
    lines = ["an answer", "> ", "", RULE, "> first", ">   second, indented", "> ", "> fourth"]
    shown = look(*lines, cursor=(8, 7))
    assert AIDER.composer is not None
    seen = screen.judge(shown, AIDER)
    assert (seen.state, seen.box and (seen.box.first, seen.box.last)) == ("draft", (4, 7))
    assert ours.ours_on(shown, seen, "first\n  second, indented\n\nfourth", AIDER.composer) == "whole"
    assert ours.ours_on(shown, seen, "second, indented\n\nfourth", AIDER.composer) == "mixed"
    assert screen.judge(look("an answer", RULE, "> ", cursor=(2, 2)), AIDER).state == "idle"
    assert screen.judge(look("> ", cursor=(2, 0)), AIDER).state == "idle"


def test_a_prompt_on_each_row_of_a_box_as_tall_as_the_screen() -> None:
    lines = [f"line {number} of our own text" for number in range(30)]
    shown = look(*(f"> {line}" for line in lines[-12:]), cursor=(27, 11))
    assert AIDER.composer is not None
    seen = screen.judge(shown, AIDER)
    empty = look("> ", cursor=(2, 0))
    assert (seen.state, seen.box and seen.box.clipped) == ("draft", True)
    assert ours.ours_on(shown, seen, "\n".join(lines), AIDER.composer, before=empty) == "tail"
    assert ours.ours_on(shown, seen, "\n".join(lines), AIDER.composer) == ""
