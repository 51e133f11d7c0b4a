"""The corpus: screens that real agent UIs showed, each with what a person said that it is.

`tests/fixtures/corpus/AGENT.jsonl.xz` has one JSON object a line: `name`, `part` (where it comes from), `state`, `text`
(what stands in the box), `screen` (`capture-pane -e`), `cursor` (x, y, whether it is on), `size`, `title`, and for
pastes `pasted` (a key of `texts.json`), `before` (the name of a screen from before the paste) and perhaps `mixed`.
`python -m tests.screens.corpus AGENT [NAME]` lists them, or shows one.

States: `idle`, `busy`, `draft`, `dialog`, `panel` (a palette, a picker, a help page: keys go to it), `loading` (the box
is drawn, and keys go nowhere), `shell`, `dead`, and `unsure`. The screens of `others` were saved without their cursor;
it was put where the UI had it. Those of `trial` are of the trial's UIs at 80x24, 40x12 and 30x10, recorded when the
rules stood.
"""

import hashlib
import json
import lzma
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.profiles import Profile
from worker.terminal.screen import Judgement
from worker.terminal.tmux import Look

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "corpus"
TYPABLE = frozenset(["idle", "busy"])
SAFE = frozenset(["dialog", "panel", "draft", "loading", "shell", "dead"])


@dataclass(frozen=True)
class Screen:
    """One screen, and what it is."""

    name: str
    part: str
    agent: str
    state: str
    text: str
    look: Look
    pasted: str = ""
    before: str = ""
    mixed: bool = False
    """Whether a person's words stand beside what was pasted."""

    @property
    def held_out(self) -> bool:
        """Whether it was kept aside while the rules were made; both screens of a pair fall on the same side."""
        stem = re.sub(r"-(before|after|stuck|pasted|closed)$", "", self.name)
        return hashlib.sha256(stem.encode()).digest()[0] % 2 == 1


@cache
def profile(agent: str) -> Profile:
    """The shipped profile that must explain an agent's screens."""
    return load(agent, [SHIPPED])


@cache
def screens(agent: str) -> tuple[Screen, ...]:
    """All screens of one agent."""
    with lzma.open(FOLDER / f"{agent}.jsonl.xz", "rt", encoding="utf-8") as file:
        return tuple(_screen(agent, json.loads(line)) for line in file)


def agents() -> list[str]:
    """The agents that have screens."""
    return sorted(path.name.split(".")[0] for path in FOLDER.glob("*.jsonl.xz"))


@cache
def texts() -> dict[str, str]:
    """What was pasted, by key."""
    found: dict[str, str] = json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))
    return found


def error(state: str, seen: Judgement, profile: Profile) -> str:
    """`dangerous`: it would be typed into, and must not be; `useless`: it could be, and would not; or neither."""
    typed_into = {"idle"} if profile.typing.busy == "wait" else TYPABLE
    if state in SAFE and seen.state in typed_into:
        return "dangerous"
    if state in TYPABLE and seen.state not in TYPABLE:
        return "useless"
    return ""


def _screen(agent: str, saved: dict[str, Any]) -> Screen:
    x, y, on = saved["cursor"]
    width, height = saved["size"]
    look = Look(
        dead=False,
        in_mode=False,
        input_off=False,
        synchronized=False,
        pid=1,
        tty="/dev/pts/1",
        cursor_x=x,
        cursor_y=y,
        cursor_on=bool(on),
        width=width,
        height=height,
        title=saved["title"],
        screen=saved["screen"],
    )
    more = {key: saved[key] for key in ("pasted", "before", "mixed") if key in saved}
    return Screen(saved["name"], saved["part"], agent, saved["state"], saved["text"], look, **more)


def main() -> None:
    """List an agent's screens, or show one."""
    agent, *wanted = sys.argv[1:] or ["claude"]
    for one in screens(agent):
        if not wanted:
            print(f"{one.state:8} {one.look.width}x{one.look.height} {one.name}")
        elif one.name == wanted[0]:
            look = one.look
            print(f"{look.screen}\x1b[0m\n{one.state}, cursor {look.cursor_x},{look.cursor_y}, title {look.title}")


if __name__ == "__main__":
    main()
