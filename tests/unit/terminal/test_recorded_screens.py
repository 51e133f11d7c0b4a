"""Screens that real agent UIs showed, judged with the shipped profiles. `bus-watch profile record` adds one."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.profiles import Profile
from worker.terminal.recordings import look_of
from worker.terminal.screen import Judgement, judge
from worker.terminal.tmux import Look

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "screens"
SCREENS = sorted(FOLDER.glob("*/*.json"))
TYPABLE = {"idle", "busy"}


def read(path: Path) -> tuple[dict[str, Any], Look, Profile]:
    """A recorded screen as it was saved, as the submitter gets it, and the profile that must explain it."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    return saved, look_of(saved), load(saved["profile"], [SHIPPED])


def agrees(state: str, seen: Judgement) -> bool:
    """Is `seen` what a screen recorded as `state` must be judged to be?"""
    if state == "unknown":
        return seen.state not in TYPABLE
    if state == "queued":
        return seen.state == "busy"
    if state == "copy-mode":
        return True  # the screen behind it may be any; that somebody scrolls is tmux's to say
    return seen.state == state


@pytest.mark.parametrize("path", SCREENS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_profile_explains_the_recorded_screen(path: Path) -> None:
    saved, look, profile = read(path)
    seen = judge(look, profile)
    assert look.in_mode == (saved["state"] == "copy-mode")
    assert agrees(saved["state"], seen), f"{saved['about']}: judged {seen.state} ({seen.why}), box {seen.box}"


LACKING = {
    "auggie": {"busy", "queued", "dialog", "copy-mode", "unknown"},  # nothing answers it without its server's login
    "hermes": {"queued"},  # while it works it is waited for
    "pi": {"dialog"},  # it never asks
}
"""What is not recorded of a UI, and why."""


@pytest.mark.parametrize("ui", sorted({path.parent.name for path in SCREENS}))
def test_every_state_of_a_ui_is_recorded(ui: str) -> None:
    states = {path.stem.rsplit("-", 1)[0] for path in SCREENS if path.parent.name == ui}
    wanted = {"idle", "draft", "busy", "queued", "dialog", "copy-mode", "unknown"}
    assert states == wanted - LACKING.get(ui, set())


def test_a_recording_says_on_which_version_it_was_made() -> None:
    assert all(json.loads(path.read_text(encoding="utf-8"))["version"][0].isdigit() for path in SCREENS)
