"""Two real agent UIs hold a conversation over the embedded bus, while the worker is killed.

    python -m ops.trial.conversation [--turns 20] [--kills 3] [--by shell|mcp]

Codex and Claude Code run against the stand-in model, which does what a message and its hint say: it calls the command,
or with `--by mcp` the tool, that answers with the next number. `mcp` is with codex's commands in its sandbox. Judged by
what the models were asked: each number once, in order.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.trial.talking import Place, Talker, prepared

TURN = re.compile(r"\[agent:(\w+) -> (\w+)[^\]]*\] turn (\d+)\b")
NAMES = {"codex": "codie", "claude": "claudia"}
PATIENCE = 120.0


def heard(talker: Talker) -> list[int]:
    """The turns that its model was told, in order, each as often as it was new."""
    found: list[int] = []
    if talker.truth.log.exists():
        for line in talker.truth.log.read_text("utf-8").splitlines():
            record = json.loads(line)
            if record["main"] and not record["tool_result"]:
                found += [int(turn) for _, _, turn in TURN.findall("\n".join(record["new"]))]
    return found


def _until(look: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if look():
            return True
        time.sleep(0.2)
    return False


def converse(turns: int, kills: int, by: str) -> dict[str, Any]:
    """One conversation; what came of it."""

    def answer(said: str) -> str | None:
        told = TURN.findall(said)
        return f"turn {int(told[-1][2]) + 1}" if told and int(told[-1][2]) < turns else None

    with tempfile.TemporaryDirectory(prefix="trial-talk-") as folder:
        place = Place(Path(folder))
        try:
            place.register(NAMES.values())
            place.configure(dict.fromkeys(NAMES.values(), "not-yet"))
            with (
                Talker(prepared("codex", by, place.config, NAMES["codex"]), by, answer) as codex,
                Talker(prepared("claude", by, place.config, NAMES["claude"]), by, answer) as claude,
            ):
                place.configure({NAMES["codex"]: codex.server.name, NAMES["claude"]: claude.server.name})
                codex.ready()
                claude.ready()
                return _talk(place, codex, claude, turns, kills)
        finally:
            place.stop()


def _talk(place: Place, codex: Talker, claude: Talker, turns: int, kills: int) -> dict[str, Any]:
    place.start()
    began = time.monotonic()
    place.run("send", "codie", "turn 1", "--as", "claudia")

    def last() -> int:
        return max([0, *heard(codex), *heard(claude)])

    killed = 0
    for number in range(1, kills + 1):
        if not _until(lambda n=number: last() >= turns * n // (kills + 1), PATIENCE):  # type: ignore[misc]
            break
        place.kill()
        killed += 1
    whole = _until(lambda: last() >= turns, PATIENCE)
    time.sleep(3.0)  # for one that comes a second time
    sent = json.loads(place.run("history", "--sent", "--json"))
    return {
        "whole": whole,
        "kills": killed,
        "seconds": round(time.monotonic() - began, 1),
        "codex": heard(codex),
        "claude": heard(claude),
        "good": heard(codex) == list(range(1, turns + 1, 2)) and heard(claude) == list(range(2, turns + 1, 2)),
        "sent": [(one["from"], one["state"]) for one in sent if one["state"] != "sent"],
        "missing": (codex.model.missing + claude.model.missing)[:1],
        "shows": "" if whole else f"{codex.shows()}\n=====\n{claude.shows()}",
        "history": [] if whole else place.run("history"),
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--by", choices=("shell", "mcp"), default="shell")
    args = parser.parse_args()
    found = converse(args.turns, args.kills, args.by)
    for key, value in found.items():
        print(f"{key}: {value}")
    return 0 if found["good"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
