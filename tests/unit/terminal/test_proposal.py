"""The profile that is proposed for a stranger: Nanocoder 1.30.0, of which no profile is shipped, as it was recorded."""

from pathlib import Path

import pytest

from worker.terminal import proposal
from worker.terminal.profiles import parse
from worker.terminal.recordings import Recording, load
from worker.terminal.screen import judge

RECORDED = {one.about: one for one in load(Path(__file__).resolve().parents[2] / "fixtures" / "stranger")}


def proposed(*left_out: str) -> str:
    screens = {step: one.look for step, one in RECORDED.items() if step not in left_out}
    return proposal.propose(screens, ["nanocoder"], []).toml("nano", "1.30.0")


@pytest.mark.parametrize("recording", RECORDED.values(), ids=lambda one: one.about)
def test_it_explains_each_recording(recording: Recording) -> None:
    assert recording.agrees(judge(recording.look, parse("nano", proposed(), "nano.toml")))


def test_what_is_made_out() -> None:
    made = proposed()
    assert "start = '^┃ (?:> (?=/ commands, ))?'" in made, "what stands in front of an empty box's words alone"
    assert 'cursor = "drawn"' in made
    assert r"collapsed = ['\[Paste #\d+: (?P<chars>\d+) chars\]']" in made, (
        "the marker of a paste that was cut is not kept"
    )
    assert "screen = '^┃ [⠁-⣿◐◓◑◒] Press Esc to cancel" in made


@pytest.mark.parametrize("step", ["half a line", "five lines", "8 KB", "busy", "dialog"])
def test_a_step_that_was_left_out_leaves_a_profile_all_the_same(step: str) -> None:
    profile = parse("nano", proposed(step), "nano.toml")
    assert judge(RECORDED["idle"].look, profile).state == "idle"
