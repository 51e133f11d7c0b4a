"""The whole corpus, judged with the shipped profiles: as it was recorded, and changed by a program."""

import random

import pytest
from msgspec.structs import replace

from tests.screens import changes, corpus
from tests.screens.corpus import Screen
from worker.terminal import ours
from worker.terminal.box import find
from worker.terminal.cells import rows_of
from worker.terminal.screen import judge
from worker.terminal.text import squeeze

JUDGED = [one for agent in corpus.agents() for one in corpus.screens(agent)
          if one.state not in {"shell", "dead", "unsure"}]  # fmt: skip
PASTED = [one for one in JUDGED if one.pasted]
# A person typed the placeholder's own words and moved the cursor home: without colours that is an empty box.
LIKE_EMPTY = {"codex-100x30-off--danger-ph", "gemini-100x30-light--danger-ph2"}
# How many screens of idle or busy agents may be taken for something else. Without any attributes a cursor that the UI
# draws itself is gone (Auggie), and words that a model suggests look typed (Claude, Qwen).
USELESS = {"no_attributes": 8, "no_colours": 1}


def errors(kind: str, screens: list[Screen], change: changes.Change | None = None) -> list[str]:
    """The names of the screens that are judged wrongly so; changed first, if there is a `change`."""
    wrong = []
    for one in screens:
        profile = corpus.profile(one.agent)
        look = one.look
        if change is not None:
            box = judge(look, profile).box
            look = change(look, (box.first, box.last) if box else None, random.Random(f"12 {one.name}"))
        seen = judge(look, profile)
        if corpus.error(one.state, seen, profile) == kind:
            wrong.append(f"{one.agent} {one.name}: {one.state}, judged {seen.state} ({seen.why})")
    return wrong


def test_the_corpus_is_all_there() -> None:
    assert len(JUDGED) > 1000
    assert {one.agent for one in JUDGED} >= {"claude", "codex", "gemini", "opencode", "copilot", "cn", "pi"}
    assert sum(one.held_out for one in JUDGED) > 300


@pytest.mark.parametrize("held_out", [False, True], ids=["tuned", "held-out"])
@pytest.mark.parametrize("part", ["given", "live", "others", "trial"])
def test_no_screen_is_judged_wrongly(part: str, held_out: bool) -> None:
    screens = [one for one in JUDGED if one.part == part and one.held_out == held_out]
    assert len(screens) > 30
    assert errors("dangerous", screens) == []
    assert errors("useless", screens) == []


@pytest.mark.parametrize("name", changes.CHANGES)
def test_what_an_owner_may_change_changes_nothing(name: str) -> None:
    change = changes.CHANGES[name]
    # While it loads, there is nothing yet in which anybody could have said something.
    judged = [one for one in JUDGED if not (name == "everything" and one.state == "loading")]
    dangerous = errors("dangerous", judged, change)
    if name in {"no_colours", "no_attributes"}:
        dangerous = [one for one in dangerous if one.split()[1].rstrip(":") not in LIKE_EMPTY]
    assert dangerous == []
    useless = errors("useless", judged, change)
    assert len(useless) <= USELESS.get(name, 0), useless


@pytest.mark.parametrize("one", PASTED, ids=lambda one: one.name)
def test_our_text_is_told(one: Screen) -> None:
    profile = corpus.profile(one.agent)
    assert profile.composer is not None
    before = next(other for other in corpus.screens(one.agent) if other.name == one.before)
    seen = judge(one.look, profile)
    told = ours.ours_on(one.look, seen, corpus.texts()[one.pasted], profile.composer, before.look)
    assert told in ({"mixed"} if one.mixed else {"whole", "tail", "collapsed"}), seen.box


def test_what_is_not_ours_is_not_taken_for_ours() -> None:
    """Every screen before a paste, with every text, and with the screen's own last words as text."""
    wrong = []
    for one in JUDGED:
        profile = corpus.profile(one.agent)
        seen = judge(one.look, profile)
        how = profile.composer
        assert how is not None
        shown = [row.text.strip() for row in rows_of(one.look.screen) if row.text.strip()]
        texts = [*corpus.texts().values(), *("\n".join(shown[-count:]) for count in (1, 2, 3, 5))]
        # What a person typed may be the text, or its end, word for word.
        typed = squeeze(seen.box.draft) if seen.box is not None else ""
        if any(pattern.search(seen.box.draft) for pattern in how.collapsed if seen.box is not None):
            continue  # a marker stands for any text of its size
        texts = [text for text in texts if not one.pasted and not (typed and squeeze(text).endswith(typed))]
        nothing = replace(one.look, screen="")
        told = [(ours.ours_on(one.look, seen, text, how, nothing), text) for text in texts]
        wrong += [(one.name, said, text[:60]) for said, text in told if said not in {"", "mixed"}]
    assert wrong == []


def test_where_a_dialog_took_the_box_no_place_of_the_cursor_makes_it_typable() -> None:
    dialogs = [one for one in JUDGED if one.state == "dialog"]
    assert len(dialogs) > 30
    for one in dialogs:
        how = corpus.profile(one.agent).composer
        assert how is not None
        rows = rows_of(one.look.screen)
        for y in range(one.look.height):
            for x in range(8):
                box = find(replace(one.look, cursor_x=x, cursor_y=y), rows, how)
                assert box is None or not box.empty, (one.name, x, y, box)
