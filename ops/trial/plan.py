"""The plan: which rounds there are for a UI, and how it looks in each."""

from dataclasses import dataclass, replace

from ops.trial import leftover
from ops.trial.cases import BUSY, SIMPLE, SPECIAL, Message, marker, plain
from ops.trial.looks import PLAIN, Look, looks_of
from ops.trial.odd import GROUPS, LONE, lone, odd
from ops.trial.rounds import (
    Round,
    busy,
    crowd,
    dialog,
    draft,
    from_afar,
    idle,
    look_alike,
    opening,
    overlays,
    shell,
    starting,
    tmux_modes,
)
from ops.trial.uis import UI

SMALL = Look("80x24", (80, 24))
"""tmux's own size of a detached session."""


@dataclass(frozen=True)
class Case:
    """One round, and the look of the UI in it."""

    run: Round
    look: Look = PLAIN


def six_hundred() -> Message:
    """A message of 600 characters: one paragraph."""
    mark = marker()
    text = f"{mark} " + " ".join(f"word{number:03d}" for number in range(74))
    return Message(mark, text, text)


def plan(ui: UI) -> dict[str, Case]:
    """The rounds of `ui` by name, in the order in which they are run."""
    cases = {
        **{name: Case(idle(make)) for name, make in SIMPLE.items()},
        **{name: Case(busy(make)) for name, make in BUSY.items()},
        **{f"special: {name}": Case(idle(make)) for name, make in SPECIAL.items()},
        "just started": Case(starting),
        "draft": Case(draft),
        "dialog": Case(dialog),
        "dialog opening": Case(opening),
        "crowd": Case(crowd),
        "over ssh": Case(from_afar),
        "shell": Case(shell),
        "600 characters": Case(idle(six_hundred), SMALL),
        "slash command": Case(idle(plain("/help @@ is text")), SMALL),
        **{f"lone commands: {word}": Case(lone(word), SMALL) for word in LONE},
        **{name if name == "mentions" else f"odd texts: {name}": Case(odd(name), SMALL) for name in GROUPS},
        **{f"leftover: {name}": Case(leftover.left(name), SMALL) for name in leftover.HOW},
        "leftover: a person types behind it": Case(leftover.typed_behind, SMALL),
        "leftover: a person types meanwhile": Case(leftover.typed_meanwhile, SMALL),
        "looks: overlays": Case(overlays, SMALL),
        "looks: tmux's modes": Case(tmux_modes, SMALL),
        **{f"looks: {look.name}": Case(look_alike, look) for look in looks_of(ui.name)},
    }
    if not ui.overlays:
        del cases["looks: overlays"]
    if not ui.asks:
        cases = {name: case for name, case in cases.items() if not name.startswith("dialog")}
    return {
        name: replace(case, look=replace(case.look, asks=case.look.asks and ui.asks)) for name, case in cases.items()
    }


QUICK = ("short", "600 characters", "slash command", "draft", "dialog")
"""What `--quick` runs: a drifted release shows in one of these."""


def quick(ui: UI) -> dict[str, Case]:
    """The cases of `--quick`, all in one look, so that the UI starts once: the small one, where drift shows most."""
    whole = plan(ui)
    return {name: replace(whole[name], look=replace(SMALL, asks=ui.asks)) for name in QUICK if name in whole}
