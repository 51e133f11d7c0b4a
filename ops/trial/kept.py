"""The results that are kept, one file a day in `results/`, and the tables of docs/terminals.md that are made from them.

A kept round has what anybody needs to run it again (command, commit, version, time) and how each of its messages ended;
what the screens showed stays in the file that the trial wrote.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ops.trial.uis import UIS

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "terminals.md"
BLOCK = re.compile(r"(<!-- generated: trial-([a-z]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)
FIRST = ("claude", "codex", "opencode", "gemini", "pi", "aider", "ipython")
GROUPS = {"first": FIRST, "later": tuple(sorted(set(UIS) - set(FIRST)))}
"""Which UIs each table of the page has."""

Rounds = Mapping[tuple[str, str], Mapping[str, Any]]
"""The newest round of each UI and case."""

_KEPT = ("ui", "version", "case", "n", "once", "agree", "unproven", "withheld", "retried", "broken", "good")


def keep(paths: Iterable[Path], folder: Path = FOLDER) -> int:
    """Add the rounds of some trials' results to the kept ones, unless they are there; how many were added.

    Raises:
        SystemExit: one is of `--quick`, whose few messages would take the place of many.
    """
    added = 0
    for path in paths:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.get("quick"):
            raise SystemExit(f"{path} is of --quick: too few messages to be kept")
        into = folder / f"{result['date']}.json"
        head = _head(into, result)
        rows = head.pop("rows")
        have = {(one["ui"], one["case"], one["begun"]) for one in rows}
        new = [_trimmed(one, result) for one in result["rows"] if (one["ui"], one["case"], result["begun"]) not in have]
        added += len(new)
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in [*rows, *new])
        text = f'{json.dumps(head, ensure_ascii=False)[:-1]}, "rows": [\n{lines}\n]}}\n'
        into.write_text(text, encoding="utf-8")
    return added


def _head(into: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    if into.exists():
        found: dict[str, Any] = json.loads(into.read_text(encoding="utf-8"))
        return found
    return {"date": result["date"], "begun": int(result["begun"]), "tmux": result["tmux"], "rows": []}


def _trimmed(row: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    case = row["case"].replace("\\", "\\\\").replace('"', '\\"')
    return {key: row[key] for key in _KEPT} | {
        "commit": result["commit"],
        "command": f'ops/trial/run --ui {row["ui"]} -n {result["n"]} --case "{case}"',
        "begun": result["begun"],
        "outcomes": [{"good": one["good"]} for one in row["outcomes"]],
    }


def newest(paths: Iterable[Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """Of each round the newest, from kept results or from those that the trial writes."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in paths:
        result = json.loads(path.read_text(encoding="utf-8"))
        for each in result["rows"]:
            row = {"begun": result["begun"], **each}
            key = row["ui"], row["case"]
            if key not in found or row["begun"] >= found[key]["begun"]:
                found[key] = row
    return found


def table(rounds: Rounds, uis: Iterable[str]) -> str:
    """Markdown: a row for each case, a column for each UI; how many of its messages ended as they had to.

    A round of another version than the one in its column's head has it behind its figure.
    """
    names = [name for name in uis if any(ui == name for ui, _ in rounds)]
    own = {name: [one for (ui, _), one in rounds.items() if ui == name] for name in names}
    last = {name: max(own[name], key=lambda one: one["begun"])["version"] for name in names}
    heads = [f"{name} {last[name]}" for name in names]
    cases = list(dict.fromkeys(_group(case) for ui, case in rounds if ui in names))
    lines = ["| case | " + " | ".join(heads) + " |", "|---|" + "---|" * len(names)]
    for case in sorted(cases, key=_order):
        cells = [
            _cell(name, last[name], case, [one for one in own[name] if _group(one["case"]) == case]) for name in names
        ]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    days = [time.strftime("%Y-%m-%d", time.gmtime(max(one["begun"] for one in own[name]))) for name in names]
    return "\n".join([*lines, "| last run | " + " | ".join(days) + " |"])


def _cell(ui: str, version: str, case: str, rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return "never asks" if case.startswith("dialog") and not UIS[ui].asks else "-"
    right = sum(outcome["good"] for row in rows for outcome in row["outcomes"])
    broken = ", broken" if any(row["broken"] for row in rows) else ""
    older = ", ".join(sorted({row["version"] for row in rows} - {version}))
    return f"{right}/{sum(row['n'] for row in rows)}{broken}{f' ({older})' if older else ''}"


def _group(case: str) -> str:
    return case.partition(":")[0]


_CASES = ("short", "5 lines", "600 characters", "8 KB", "busy", "busy, 5 lines", "special", "just started", "draft",
          "dialog", "dialog opening", "crowd", "over ssh", "shell", "slash command", "lone commands", "mentions",
          "odd texts", "leftover", "looks")  # fmt: skip


def _order(case: str) -> int:
    return _CASES.index(case) if case in _CASES else len(_CASES)


def page(text: str, folder: Path = FOLDER) -> str:
    """The documentation's page with its tables as the kept results have them."""
    rounds = newest(sorted(folder.glob("*.json")))
    return BLOCK.sub(lambda found: found[1] + table(rounds, GROUPS[found[2]]) + found[3], text)


def write_page() -> None:
    """Make the tables of docs/terminals.md anew."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
