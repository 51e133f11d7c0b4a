"""The short searches: no hole, exactly as much looked at as ever, and a hole wherever a rule is taken away."""

from functools import cache
from pathlib import Path

import pytest

from tests.model.command import look, main
from tests.model.inbox import PollRules
from tests.model.rules import Rules
from tests.model.scenarios import SHORT, WITHOUT, without

PAGE = Path(__file__).parents[2] / "docs" / "model.md"
look_once = cache(look)  # several holes are shown in one world


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_broken_and_nothing_is_stuck(name: str) -> None:
    found = look(SHORT[name].what)
    assert found.well, "\n".join([*found.way, found.broken or "stuck"])
    assert (found.states, found.steps) == (SHORT[name].states, SHORT[name].steps), "it looks at another world now"


@pytest.mark.parametrize("rule", WITHOUT)
def test_without_a_rule_the_search_finds_its_hole(rule: str) -> None:
    hole = WITHOUT[rule]
    assert look_once(hole.what).well, "with the rule there is none"
    found = look(without(rule))
    assert hole.words in (found.broken or "stuck" * bool(found.stuck))
    assert found.way, "it says how to get there"


def test_no_rule_is_left_out() -> None:
    assert set(WITHOUT) == {*Rules._fields, *PollRules._fields}
    page = PAGE.read_text("utf-8")
    assert [rule for rule in WITHOUT if f"| `{rule}` |" not in page] == []


def test_a_search_that_is_not_made_to_the_end_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "--most", "100"]) == 1
    assert "NOT SEARCHED TO THE END" in capsys.readouterr().out


def test_the_command_shows_the_way_to_a_hole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--without", "void_note"]) == 0
    assert "WORKER 0 LOSES THREAD 0" in capsys.readouterr().out


def test_the_command_says_what_it_can_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "long-power-hold" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["nothing-like-it"])
    assert "there is no search 'nothing-like-it'" in capsys.readouterr().err
