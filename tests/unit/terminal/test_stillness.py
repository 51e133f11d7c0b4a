"""What looks at a box, one after the other, come to."""

from worker.terminal.stillness import Stillness


def test_a_box_that_stays_the_same_is_still_whatever_is_seen_in_between() -> None:
    looks = Stillness(0.0)
    for number in range(10):
        state = ("idle", "unknown")[number % 2]
        assert looks.saw(state, state, number / 100, fit=state == "idle", young=False)
        assert not looks.bars(state, number / 100)
    assert looks.of_fit(0.1) == 0.1


def test_a_draft_or_a_dialog_in_between_begins_it_anew() -> None:
    for state in ("draft", "dialog"):
        looks = Stillness(0.0)
        looks.saw("idle", "idle", 0.0, fit=True, young=False)
        looks.saw(state, state, 0.1, fit=False, young=False)
        looks.saw("idle", "idle", 0.2, fit=True, young=False)
        assert looks.of_fit(0.25) < 0.06


def test_nothing_is_forgiven_while_a_program_starts() -> None:
    looks = Stillness(0.0)
    looks.saw("idle", "idle", 0.0, fit=True, young=True)
    looks.saw("unknown", "unknown", 0.1, fit=False, young=True)
    looks.saw("idle", "idle", 0.2, fit=True, young=True)
    assert looks.of_fit(0.25) < 0.06


def test_what_bars_must_be_seen_for_a_while() -> None:
    looks = Stillness(0.0)
    looks.saw("draft", "draft", 0.0, fit=False, young=False)
    assert not looks.bars("draft", 0.2)
    assert looks.bars("draft", 0.3)


def test_what_is_not_recognised_bars_only_if_it_is_all_there_is_for_long() -> None:
    looks = Stillness(0.0)
    looks.saw("unknown", "unknown", 0.1, fit=False, young=False)
    assert not looks.bars("unknown", 1.9)
    assert looks.bars("unknown", 2.2)
    looks.saw("idle", "idle", 2.3, fit=True, young=False)
    looks.saw("unknown", "unknown", 2.4, fit=False, young=False)
    assert not looks.bars("unknown", 4.2)
