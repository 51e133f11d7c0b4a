"""The transports' own record of what they did, and the verdict on it: lost, doubled, out of order, side by side.

Each run of a transport appends `KEY ATTEMPT start` and, when it is done, `KEY ATTEMPT end` to the file of its lane,
each line by one write to a file opened with O_APPEND. Nothing of the worker's own is believed here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of a transport: `ended` is false while there is no end, perhaps because it was killed."""

    key: str
    attempt: int
    ended: bool


@dataclass
class Verdict:
    """What is wrong, in words; `runs` is how often transports ran, `kept` how many messages each lane was owed."""

    runs: int = 0
    kept: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, in order, one at a time."""
        return not (self.lost or self.doubled or self.disordered or self.overlapping or self.attempts)

    def words(self) -> str:
        """The figures on one line, and the first few of what is wrong."""
        parts = {
            "lost": self.lost,
            "doubled": self.doubled,
            "out of order": self.disordered,
            "side by side": self.overlapping,
            "wrongly counted": self.attempts,
        }
        figures = ", ".join(f"{len(found)} {name}" for name, found in parts.items())
        examples = "".join(f"\n  {name}: {'; '.join(found[:5])}" for name, found in parts.items() if found)
        return f"{self.kept} owed, {self.runs} runs: {figures}{examples}"


def read(path: Path) -> tuple[list[Run], list[str]]:
    """The runs in one lane's record in the order of their starts, and runs that began beside another."""
    runs: list[Run] = []
    overlapping = []
    for line in path.read_text().splitlines() if path.exists() else []:
        key, attempt, what = line.split()
        if what == "start":
            runs.append(Run(key, int(attempt), ended=False))
            continue
        # A run without an end may have been killed; whoever began after it overlaps only if its end still comes.
        place = max(n for n, run in enumerate(runs) if (run.key, run.attempt, run.ended) == (key, int(attempt), False))
        overlapping += [f"{later.key} began before {key} ended" for later in runs[place + 1 :]]
        runs[place] = Run(key, int(attempt), ended=True)
    return runs, overlapping


def judge(
    sent: Mapping[Path, Iterable[str]],
    *,
    interrupted: Counter[str] | None = None,
    unfinished: frozenset[str] = frozenset(),
) -> Verdict:
    """Judge the records of all lanes: `sent` has each lane's record and its keys in inbox order.

    `interrupted`: keys that may have run again, marked as a further attempt, as often as nobody can know how their
    run ended. `unfinished`: keys that need not have run to their end (they are held).
    """
    verdict = Verdict()
    again = interrupted or Counter()
    for path, given in sent.items():
        keys = list(given)
        runs, overlapping = read(path)
        verdict.kept += len(keys)
        verdict.runs += len(runs)
        verdict.overlapping += overlapping
        done = Counter(run.key for run in runs if run.ended)
        began = Counter(run.key for run in runs)
        verdict.lost += [key for key in keys if not done[key] and key not in unfinished]
        verdict.doubled += [key for key, count in began.items() if count > 1 + again[key]]
        verdict.attempts += [f"{key} says it is attempt 1 again" for key in _not_marked(runs)]
        place = {key: number for number, key in enumerate(keys)}
        verdict.lost += [f"{key} was never sent" for key in began if key not in place]
        order = [place[run.key] for run in runs if run.key in place]
        verdict.disordered += [
            f"{keys[after]} before {keys[before]}"
            for before, after in zip(order[1:], order, strict=False)
            if after > before
        ]
    return verdict


def _not_marked(runs: list[Run]) -> list[str]:
    """Keys that ran again without saying so by a higher attempt."""
    highest: dict[str, int] = {}
    wrong = []
    for run in runs:
        if run.attempt <= highest.get(run.key, 0):
            wrong.append(run.key)
        highest[run.key] = max(run.attempt, highest.get(run.key, 0))
    return wrong
