"""Whose text stands in a box, by difference: ours and nothing else."""

import random

import pytest
from msgspec.structs import replace

from tests.screens import corpus
from worker.terminal import ours
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.profiles import Composer
from worker.terminal.screen import judge
from worker.terminal.tmux import Look

LONG = " ".join(f"word{number}" for number in range(80))
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"


def composer(name: str) -> Composer:
    found = load(name, [SHIPPED]).composer
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("agent", "draft", "text", "told"),
    [
        # as it is: wrapped, indented, padded, in another Unicode form
        ("claude", "please look at\n  the test", "please look at the test", "whole"),
        ("claude", "a    b", "a\tb", "whole"),
        ("claude", "Andr\u00e9", "Andre\u0301", "whole"),
        ("claude", "\uff21bc", "Abc", "whole"),
        # emoji of several characters may be lost, and nothing else
        ("claude", "\U0001f468\U0001f469\U0001f467 ok", f"{FAMILY} ok", "whole"),
        ("claude", " ok", f"{FAMILY} ok", "whole"),
        ("claude", f"{FAMILY} o", f"{FAMILY} ok", ""),
        ("claude", "done", "\u2705 done", ""),
        ("claude", "above below", "above\n\u2500\u2500\u2500\u2500\nbelow", ""),
        ("claude", "1 2", "1 \u2192 2", ""),
        # a person's words beside it
        ("claude", "so please look at the test", "please look at the test", "mixed"),
        ("claude", "please look at the test now", "please look at the test", "mixed"),
        ("claude", f"{FAMILY} ok not ok", f"{FAMILY} ok", "mixed"),
        ("claude", LONG[200:] + " and", LONG, "mixed"),
        ("claude", "please look", "please look at the test", ""),
        ("claude", LONG[:200], LONG, "mixed"),
        # the end of it
        ("claude", LONG[-60:], LONG, "tail"),
        ("claude", LONG[-10:], LONG, ""),
        # markers, by their size
        ("claude", "[Pasted text #1 +3 lines]", "1\n2\n3\n4", "collapsed"),
        ("claude", "[Pasted text #1 +9 lines]", "1\n2\n3\n4", ""),
        ("claude", "[Pasted text #1 +3\nlines]", "1\n2\n3\n4", "collapsed"),
        ("claude", "[Pasted text #1 +3 lines] ok", "1\n2\n3\n4", "mixed"),
        ("claude", "1 [Pasted text #1 +3 lines]", "1\n2\n3\n4", "mixed"),
        ("claude", "[Pasted text #1]", LONG, "collapsed"),
        ("claude", "[Pasted text #1]", "short", ""),
        ("claude", LONG[:100] + "[...Truncated text #1 +9 lines...]" + LONG[-100:], LONG, "collapsed"),
        ("claude", LONG[:100] + "[...Truncated text #1 +9 lines...]" + "no" + LONG[-100:], LONG, "mixed"),
        ("codex", "[Pasted Content 549 chars]", LONG, "collapsed"),
        ("codex", "[Pasted Content 900 chars]", LONG, ""),
        ("opencode", "[Pasted ~1 lines]", "short", ""),
        # what a UI writes otherwise
        ("claude", "[Image #1]", "/tmp/a/shot.png", "collapsed"),
        ("claude", "look at [Image #2]", "look at /tmp/a/shot.png", "collapsed"),
        ("claude", "look at this [Image #2]", "look at /tmp/a/shot.png", ""),
        ("claude", "look at [Image #2] now", "look at /tmp/a/shot.png", "mixed"),
        ("claude", "[Image #1] [Image #2]", "/tmp/a.png /tmp/b.JPG", "collapsed"),
        ("claude", "[Image #1]", "hello", ""),
        ("aider", "a^Ib^Ic", "a\tb\tc", "whole"),
        ("aider", "a^Ib", "a\tb\tc", ""),
        ("claude", "a^Ib^Ic", "a\tb\tc", ""),
    ],
)
def test_by_difference(agent: str, draft: str, text: str, told: str) -> None:
    assert ours.compare(draft, text, composer(agent)) == told


def test_a_marker_without_a_size_is_ours_only_if_the_box_was_empty() -> None:
    assert ours.compare("[Pasted text #1]", LONG, composer("claude"), empty_before=False) == ""
    assert (
        ours.compare("[Pasted text #1 +3 lines]", "1\n2\n3\n4", composer("claude"), empty_before=False) == "collapsed"
    )


def _screen(name: str) -> tuple[Look, Look, str]:
    one = next(one for one in corpus.screens("claude") if one.name == name)
    before = next(other for other in corpus.screens("claude") if other.name == one.before)
    return one.look, before.look, corpus.texts()[one.pasted]


def test_the_end_of_it_is_enough_only_if_the_box_was_empty() -> None:
    look, before, text = _screen("claude-80x24-trial--w600-pasted")
    profile = corpus.profile("claude")
    assert profile.composer is not None
    seen = judge(look, profile)
    assert seen.box is not None
    assert seen.box.clipped
    assert ours.ours_on(look, seen, text, profile.composer, before) == "tail"
    assert ours.ours_on(look, seen, text, profile.composer) == ""


def test_an_empty_box_is_never_ours() -> None:
    profile = corpus.profile("claude")
    assert profile.composer is not None
    for one in corpus.screens("claude"):
        if one.state == "idle":
            seen = judge(one.look, profile)
            shown = "\n".join(row.text for row in seen.rows[: one.look.cursor_y])
            assert ours.ours_on(one.look, seen, shown, profile.composer, replace(one.look, screen="")) == ""


def test_ten_thousand_texts_are_ours_however_they_wrap_and_never_with_a_letter_more_or_less() -> None:
    chance = random.Random(12)
    how = composer("claude")
    letters = "abcXYZ019 .,;:!?/\\'\"`$#@&*()[]{}<>|~^-_=+\u00e9\u4e2d\u6587\U0001f600\n\t"
    for _ in range(10_000):
        text = "".join(chance.choice(letters) for _ in range(chance.randrange(2, 300)))
        if len("".join(text.split())) < 2:
            continue
        width = chance.randrange(10, 90)
        rows = [row[at : at + width] for row in text.expandtabs(4).split("\n") for at in range(0, len(row) or 1, width)]
        shown = "\n  ".join(row.strip() + " " * chance.randrange(3) for row in rows)
        assert ours.compare(shown, text, how) == "whole", repr(text)
        solid = [at for at, char in enumerate(shown) if not char.isspace()]
        at = chance.choice(solid)
        assert ours.compare(shown[:at] + "\u00df" + shown[at:], text, how) != "whole"
        assert ours.compare(shown[:at] + shown[at + 1 :], text, how) != "whole"
