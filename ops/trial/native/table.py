"""The table of a file of results, for docs/channels.md."""

import json
from collections import Counter
from pathlib import Path
from typing import Any


def of(path: Path) -> str:
    """Markdown: a row for each case, a column for each UI in the version tried last; of several results the latest."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        if "version" not in one:  # a week has no column of its own
            continue
        key = f"{one['ui']} {one['version']}", one["case"]
        found[key] = _sum(found[key], one) if one.get("more") and key in found else one
    names = list({name.partition(" ")[0]: name for name, _ in found}.values())
    cases = list(dict.fromkeys(case for _, case in found))
    rows = [["case", *names], ["---"] * (len(names) + 1)]
    rows += [[case, *(_cell(found.get((name, case))) for name in names)] for case in cases]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _sum(first: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A result that was run in parts."""
    added: dict[str, Any] = {what: first[what] + more[what] for what in ("sent", "once", "whole", "wrong")}
    return more | added | {what: dict(Counter(first[what]) + Counter(more[what])) for what in ("ways", "notes")}


def _cell(one: dict[str, Any] | None) -> str:
    if one is None:
        return "not run"
    if "whole" not in one:
        return f"p50 {one['p50_ms']}, p95 {one['p95_ms']} ms"
    if not one["sent"]:
        return ", ".join(one["notes"]) or "none sent"
    ways = ", ".join(f"{times} {way}" for way, times in one["ways"].items())
    wrong = f"; **{'; '.join(one['wrong'])}**" if one["wrong"] else ""
    return f"{one['once']} of {one['sent']} once, {one['whole']} whole ({ways}){wrong}"
