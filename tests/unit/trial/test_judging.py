"""How the trial judges: it must see every way in which a message can go wrong."""

import json
from pathlib import Path

import pytest

from ops.trial.main import row
from ops.trial.sending import Outcome
from ops.trial.truth import Truth
from ops.trial.uis import UIS

SENT = "M00000001Z hello\n  world"


def truth(path: Path, *requests: list[str], ui: str = "codex") -> Truth:
    """A log of requests, each with what was new in it; the markers of all before it are repeated, as UIs do."""
    markers: list[str] = []
    lines = []
    for new in requests:
        markers += [word for text in new for word in text.split() if word.startswith("M0000")]
        lines.append(json.dumps({"main": True, "new": new, "markers": list(markers)}) + "\n")
    (path / "log").write_text("".join(lines))
    made = Truth(path / "log", UIS[ui])
    made.refresh()
    return made


def test_once_and_whole(tmp_path: Path) -> None:
    found = truth(tmp_path, [SENT], ["M00000002Z next"]).found("M00000001Z", SENT)
    assert (found.times, found.intact) == (1, True)


def test_twice(tmp_path: Path) -> None:
    assert truth(tmp_path, [SENT], [SENT]).found("M00000001Z", SENT).times == 2


@pytest.mark.parametrize("got", ["M00000001Z hello", "M00000001Z hello\n world", f"draft {SENT}", f"{SENT} x"])
def test_changed(tmp_path: Path, got: str) -> None:
    assert not truth(tmp_path, [got]).found("M00000001Z", SENT).intact


def test_not_at_all(tmp_path: Path) -> None:
    found = truth(tmp_path, ["something else"]).found("M00000001Z", SENT)
    assert (found.times, found.intact) == (0, False)


def test_joined_with_other_messages_by_a_blank_line(tmp_path: Path) -> None:
    log = truth(tmp_path, [f"{SENT}\n\nM00000002Z other"])
    assert log.found("M00000001Z", SENT).intact
    assert log.strays([SENT, "M00000002Z other"]) == []


def test_the_rest_of_a_split_message_is_a_stray(tmp_path: Path) -> None:
    strays = truth(tmp_path, ["M00000001Z hello"], ["  world"]).strays([SENT])
    assert set(strays) == {"M00000001Z hello", "  world"}


def test_what_the_ui_says_itself_is_no_stray(tmp_path: Path) -> None:
    assert truth(tmp_path, ["<environment_context>\n</environment_context>", SENT]).strays([SENT]) == []


def test_only_the_documented_changes_are_allowed(tmp_path: Path) -> None:
    assert truth(tmp_path, ["M00000001Z a    b"], ui="claude").found("M00000001Z", "M00000001Z a\tb").intact
    assert not truth(tmp_path, ["M00000001Z a    b"], ui="codex").found("M00000001Z", "M00000001Z a\tb").intact
    assert truth(tmp_path, ["> /M00000001Z"], ui="gemini").found("M00000001Z", "/M00000001Z").intact
    assert not truth(tmp_path, ["> /M00000001Z"], ui="codex").found("M00000001Z", "/M00000001Z").intact


def outcome(verdict: str, times: int, *, intact: bool = True) -> Outcome:
    return Outcome("text", verdict, 0, 1.0, 1, "screen", times=times, intact=intact and times > 0)


@pytest.mark.parametrize(
    ("verdict", "times", "intact", "agrees"),
    [
        ("submitted", 1, True, True),
        ("queued", 1, True, True),
        ("submitted", 0, True, False),
        ("submitted", 2, True, False),
        ("submitted", 1, False, False),
        ("held", 0, True, True),
        ("held", 1, True, False),
        ("refused", 1, True, False),
        ("exit 1", 0, True, False),
    ],
)
def test_a_verdict_is_true_or_false(verdict: str, times: int, *, intact: bool, agrees: bool) -> None:
    assert outcome(verdict, times, intact=intact).agrees == agrees


def test_a_round_is_good_only_if_everything_is_true_and_proven() -> None:
    ui = UIS["codex"]
    right, held, unproven = outcome("submitted", 1), outcome("held", 0), outcome("unproven", 1)
    assert row(ui, "1", "short", [right, held]).good
    assert not row(ui, "1", "short", [right, unproven]).good
    assert not row(ui, "1", "short", [right, outcome("submitted", 0)]).good
    assert not row(ui, "1", "draft", [held], broken="the draft was changed").good
    assert row(ui, "1", "dialog opening", [held, unproven]).good
    assert not row(ui, "1", "dialog opening", [outcome("held", 1)]).good
