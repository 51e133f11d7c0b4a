"""The box is where the cursor is: constructed screens of each kind of box, and that nothing makes the reading fail."""

import random

import pytest
from msgspec.structs import replace

from tests.screens import corpus
from tests.screens.drawn import look
from worker.terminal import cells
from worker.terminal.box import Box, find
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.profiles import Profile, parse
from worker.terminal.screen import judge
from worker.terminal.tmux import Look

RULE = "\u2500" * 40


def box(shown: Look, profile: Profile) -> Box | None:
    assert profile.composer is not None
    return find(shown, cells.rows_of(shown.screen), profile.composer)


def profile(composer: str) -> Profile:
    return parse("t", f'name = "t"\n[process]\ncommands = ["t"]\n[composer]\n{composer}', "t.toml")


CLAUDE, CODEX, OPENCODE, CONTINUE, AIDER = (
    load(name, [SHIPPED]) for name in ("claude", "codex", "opencode", "cn", "aider")
)
QWEN = load("qwen", [SHIPPED])


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        # one typed blank, a blank first line, a cursor moved home, text behind the cursor, text far behind it
        (look(RULE, "❯ ", RULE, cursor=(3, 1)), "draft"),
        (look(RULE, "❯ ", "  ", RULE, cursor=(2, 2)), "draft"),
        (look(RULE, "❯ text", RULE, cursor=(2, 1)), "draft"),
        (look(RULE, "❯ ", "  text", RULE, cursor=(2, 1)), "draft"),
        # the cursor is not in the box that the screen shows
        (look("words", RULE, "❯ ", RULE, cursor=(0, 0)), "unknown"),
        (look(RULE, "❯ ", RULE, "  1. theme", "", "esc to close", cursor=(2, 3)), "dialog"),
        # a question with the prompt's character, indented as questions are
        (look(RULE, " ❯ 1. Yes", "   2. No", "Esc to cancel", cursor=(3, 1)), "dialog"),
        # rules that carry words, or stand on one side only
        (look("── 3/4 ──────────", "❯ ", "── ⠼ Working ───────", cursor=(2, 1)), "idle"),
        (look(RULE, "❯ ", cursor=(2, 1)), "idle"),
        (look("❯ ", RULE, cursor=(2, 0)), "idle"),
        (look("text", "❯ ", "text", cursor=(2, 1)), "unknown"),
        # the start has scrolled away
        (look("─── ↑ 3 more ─────", "  word", "  word", RULE, cursor=(6, 2)), "draft"),
        (look("─── ↑ 3 more ─────", "  ", "  ", RULE, cursor=(2, 2)), "draft"),
        (look(RULE, "  word", "  word", RULE, cursor=(6, 2)), "unknown"),
        # the words of a dialog in the transcript, and in the title
        (look("Do you want to proceed?", " ❯ 1. Yes", RULE, "❯ ", RULE, cursor=(2, 3), title="[ ! ] x"), "idle"),
        (look("he pressed esc to interrupt it", RULE, "❯ ", RULE, cursor=(2, 2)), "idle"),
        (look("Thinking (3s • esc to interrupt)", RULE, "❯ ", RULE, cursor=(2, 2)), "busy"),
        (look("settings", "esc to interrupt", cursor=(0, 0), title="⠂ x"), "unknown"),
    ],
)
def test_a_box_between_rules(shown: Look, state: str) -> None:
    assert judge(shown, CLAUDE).state == state


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        (look("› \x1b[2mAsk Codex to do anything\x1b[0m", "", "  x · y", cursor=(2, 0)), "idle"),
        (look("› \x1b[2mAsk Codex to do anything\x1b[0m", "", "  x · y", cursor=(2, 0), on=False), "unknown"),
        (look("› Ask Codex to do anything", "", "\x1b[2m  x · y\x1b[0m", cursor=(2, 0)), "draft"),
        (look("› Ask Codex to do anything", "", "  x · y", cursor=(2, 0)), "idle"),
        (look("› \x1b[2mFind and fix a bug\x1b[0m", "", "  x · y", cursor=(2, 0)), "idle"),
        (look("› ", "", "  x · y", cursor=(2, 0)), "draft"),
        (look("  word", "  word", "", "  x · y", cursor=(6, 1)), "draft"),
        (look("› \x1b[2mAsk Codex to do anything\x1b[0m", "", "  ? for shortcuts", cursor=(2, 0)), "unknown"),
    ],
)
def test_a_box_without_rules(shown: Look, state: str) -> None:
    assert judge(shown, CODEX).state == state


def test_a_program_that_has_run_for_a_while_has_loaded() -> None:
    shown = look("› \x1b[2mAsk Codex to do anything\x1b[0m", "", "  ? for shortcuts", cursor=(2, 0))
    assert judge(shown, CODEX, age=5).state == "unknown"
    assert judge(shown, CODEX, age=300).state == "idle"


def framed(
    *rows: str, colour: str = "38;5;8", last: str = "Own agent \x1b[{}m·\x1b[38;5;15m model", foot: str = "╹▀▀▀"
) -> Look:
    lines = [f"  ┃  {row}" for row in ("", *rows, "", last.format(colour))]
    return look(*lines, f"  {foot}", cursor=(5, 1))


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        (framed(""), "idle"),
        (framed("\x1b[38;5;8mWhatever it says today\x1b[38;5;15m"), "idle"),
        (framed('\x1b[38;5;8mAsk anything… "What is the', '\x1b[38;5;8mstack?"\x1b[38;5;15m'), "idle"),
        (framed("\x1b[38;2;9;9;9mAsk anything…\x1b[38;5;15m"), "idle"),
        (framed("\x1b[38;5;15mAsk anything…"), "draft"),
        (framed("\x1b[38;5;245mgray text of a theme\x1b[38;5;15m"), "draft"),
        (framed("", ""), "draft"),
        (framed("", last="Shell"), "unknown"),
        (framed("", foot="   "), "unknown"),
        (framed("", foot="/tmp ▀▀▀▀ 1.18"), "idle"),
    ],
)
def test_a_box_in_a_frame(shown: Look, state: str) -> None:
    assert judge(shown, OPENCODE).state == state


def test_a_cursor_that_the_ui_draws_is_the_cursor_where_the_terminals_own_is_parked() -> None:
    frame = ("╭──────", "│ ● {}", "╰──────")
    for inside, state in (
        ("\x1b[90m▋Ask anything, @ for context\x1b[0m", "idle"),
        ("hello▋", "draft"),
        ("hello", "unknown"),
    ):
        shown = look(*[row.format(inside) for row in frame], cursor=(0, 11), on=False)
        assert judge(shown, CONTINUE).state == state


def test_an_underlined_first_letter_is_a_drawn_cursor_too() -> None:
    assert judge(look(RULE, "> \x1b[4mo\x1b[0m\x1b[38;5;103mk", RULE, cursor=(2, 1)), QWEN).state == "idle"
    assert judge(look(RULE, "> \x1b[4mo\x1b[0mk", RULE, cursor=(2, 1)), QWEN).state == "draft"


def test_a_first_letter_alone_on_its_background_is_one_as_well() -> None:
    drawn = "> \x1b[48;5;252mo\x1b[38;5;103m\x1b[49mk"  # Qwen 0.24.4 suggests `ok`
    assert judge(look(RULE, drawn, RULE, cursor=(2, 1)), QWEN).state == "idle"
    typed = "> \x1b[48;5;252mo\x1b[39m\x1b[49mk"
    assert judge(look(RULE, typed, RULE, cursor=(2, 1)), QWEN).state == "draft"
    whole = "> \x1b[48;5;252mo\x1b[38;5;103mk"
    assert judge(look(RULE, whole, RULE, cursor=(2, 1)), QWEN).state == "draft", "the whole row has that background"


def test_rows_that_all_start_with_the_prompt_are_one_box() -> None:
    found = box(look(RULE, "> one", "> two", "> three", cursor=(7, 3)), AIDER)
    assert found is not None
    assert (found.first, found.last, found.draft, found.clipped) == (1, 3, "one\ntwo\nthree", False)
    assert judge(look(RULE, "> ", cursor=(2, 1)), AIDER).state == "idle"
    assert judge(look(RULE, "> ", cursor=(2, 1), on=False), AIDER).state == "busy"


def test_what_is_typed_and_what_stands_behind_the_cursor() -> None:
    found = box(look(RULE, "❯ 日本語 text", "  more", RULE, cursor=(8, 1)), CLAUDE)
    assert found is not None
    assert (found.before, found.after, found.home, found.empty) == ("日本語", "text\nmore", False, False)


@pytest.mark.parametrize(
    ("codes", "gray"),
    [("90", True), ("38;5;8", True), ("38;5;244", True), ("38;5;103", True), ("38;2;128;128;140", True),
     ("38:2::128:128:128", True), ("38;5;15", False), ("38;5;232", False), ("38;2;250;250;250", False),
     ("38;2;200;60;60", False), ("31", False), ("38;5", False), ("38;2;1", False), ("", False)],
)  # fmt: skip
def test_what_is_gray(codes: str, gray: bool) -> None:
    row = cells.rows_of(f"\x1b[{codes}mx")[0]
    assert cells.is_gray(row.cells[0].style.colour) == gray


def test_underlines_colons_and_columns() -> None:
    row = cells.rows_of("\x1b[4:3ma\x1b[4:0mb\x1b[38:5:8mc\u4e2d\x1b[0me\u0301f")[0]
    assert [cell.style.underline for cell in row.cells[:3]] == [True, False, False]
    assert row.cells[2].style.colour == "38;5;8"
    assert [cell.column for cell in row.cells] == [0, 1, 2, 3, 5, 6, 6]


def test_nothing_makes_it_fail() -> None:
    """Random bytes, and real screens cut, mixed and with the cursor anywhere, with every profile."""
    chance = random.Random(12)
    profiles = [corpus.profile(agent) for agent in corpus.agents()]
    pieces = ["\x1b[0m", "\x1b[38;5;8m", "\x1b[38;2;1m", "\x1b[7m", "\x1b[4:3m", "\x1b[;;m", "\x1b]8;;x\x07",
              "\x1b(", "\x0e",
              "───", "❯ ", "› ", "┃", "╹", "·", "│ > ", "\n", "\t", "中", "\u200d", "é", "▋", "x", " "]  # fmt: skip
    for number in range(3000):
        one = chance.choice(profiles)
        if number % 2:
            shown = look("".join(chance.choice(pieces) for _ in range(chance.randrange(200))))
        else:
            shown = chance.choice(corpus.screens(one.name)).look
            lines = shown.screen.split("\n")
            start = chance.randrange(len(lines))
            shown = replace(shown, screen="\n".join(lines[start:] + lines[: chance.randrange(3)]))
        shown = replace(
            shown, cursor_x=chance.randrange(90), cursor_y=chance.randrange(60), width=chance.randrange(1, 90)
        )
        assert judge(shown, one).state in {"idle", "busy", "draft", "dialog", "unknown"}


@pytest.mark.parametrize(
    ("rows", "cursor", "state"),
    [
        ((RULE, "", RULE), (0, 1), "idle"),
        (("── 3/4 ──", "", RULE), (0, 1), "idle"),
        ((RULE, "text", "─" * 20, "", RULE), (0, 3), "draft"),
        ((RULE, "text", RULE[:-1], "", RULE), (0, 3), "draft"),
        (("text", "", RULE), (0, 1), "unknown"),
        ((RULE, "", "text"), (0, 1), "unknown"),
        ((RULE, "/work"), (0, 1), "unknown"),
    ],
)
def test_a_box_without_a_prompt(rows: tuple[str, ...], cursor: tuple[int, int], state: str) -> None:
    assert judge(look(*rows, cursor=cursor), load("pi", [SHIPPED])).state == state
