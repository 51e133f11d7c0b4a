"""When a pane of the trial stands still."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ops.trial.terminal import Screen, Server


def screen(text: str, x: int = 2) -> Screen:
    return Screen(text, x, 0, 0, 80, 24, 0, 0, 0, "vibe", "title")


@dataclass(frozen=True)
class Shows(Server):
    """A pane that shows one screen after the other, for ever."""

    name: str = "none"
    screens: Iterator[Screen] = field(default_factory=lambda: iter(()))

    def screen(self, pane: str) -> Screen:
        del pane
        return next(self.screens)


def test_a_cursor_that_blinks_does_not_move_the_screen() -> None:
    """Vibe draws its own: each wait for it lasted to its limit, a minute and a half of one round."""
    blinking = itertools.cycle([screen("> \x1b[7ma\x1b[0mbc"), screen("> \x1b[1mabc\x1b[0;7m \x1b[0m")])
    begun = time.monotonic()
    assert Shows(screens=blinking).still("%0", quiet=0.2, limit=60).plain.text in {"> abc", "> abc "}
    assert time.monotonic() - begun < 30


def test_a_logo_that_moves_does_not_move_the_screen() -> None:
    logo = itertools.cycle([screen("  ⡠⣒⠄  ⡔⢄⠔⡄  Vibe\n> a"), screen(" ⢠⢢    ⡔⢄⠔⡄  Vibe\n> a")])
    begun = time.monotonic()
    Shows(screens=logo).still("%0", quiet=0.2, limit=60)
    assert time.monotonic() - begun < 30


def test_words_and_the_cursor_move_it() -> None:
    spinner = itertools.cycle([screen("⣾⣏⣾ works"), screen("⣽⣏⣾ works")])
    for moving in (
        spinner,
        itertools.cycle([screen("> a"), screen("> ab")]),
        (screen("> a", x) for x in itertools.count()),
    ):
        begun = time.monotonic()
        Shows(screens=moving).still("%0", quiet=0.3, limit=1.0)
        assert time.monotonic() - begun >= 1.0
