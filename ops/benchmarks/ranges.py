"""`python -m ops.benchmarks.ranges FILE...`: the same figures of several sittings, each as the range of its medians."""

import json
import sys
from pathlib import Path


def main(paths: list[str]) -> None:
    """Print a table in Markdown: part, what, range, in how many sittings."""
    found: dict[tuple[str, str], tuple[list[float], str, str]] = {}
    for path in paths:
        for row in json.loads(Path(path).read_text(encoding="utf-8"))["rows"]:
            values, _, _ = found.setdefault((row["part"], row["what"]), ([], row["unit"], row["goal"]))
            values.append(row["value"])
    print("| part | what | range | sittings | goal |\n|---|---|---|---|---|")
    for (part, what), (values, unit, goal) in found.items():
        low, high = f"{min(values):.3g}", f"{max(values):.3g}"
        print(f"| {part} | {what} | {low if low == high else f'{low}..{high}'} {unit} | {len(values)} | {goal} |")


if __name__ == "__main__":
    main(sys.argv[1:])
