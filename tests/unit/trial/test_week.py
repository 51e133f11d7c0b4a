"""What a week's worth of work counts: lost, doubled, out of order, whatever was ended meanwhile; and its parts."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.trial.native.week import PART, WHOLE, Agent, Week, _parts, _sum


class Truth:
    """A model's log: each request has the markers of the whole conversation."""

    def __init__(self) -> None:
        self.requests: list[dict[str, object]] = []

    def refresh(self) -> None:
        """Nothing is read."""

    def main(self) -> list[dict[str, object]]:
        return self.requests

    def asked(self, at: float, *markers: str) -> None:
        self.requests.append({"at": at, "markers": list(markers)})


def agent(*sent: str) -> tuple[Agent, Truth]:
    truth = Truth()
    made = Agent(SimpleNamespace(truth=truth))  # type: ignore[arg-type]  # all that is asked of a session
    made.sent += sent
    return made, truth


def counted(one: Agent) -> tuple[int, int, int]:
    week = Week.__new__(Week)
    week.agents, week.began = {"codex": one}, 0.0
    week.kills = week.settled = week.switches = week.restarts = 0
    found = week._result({})
    return found["lost"], found["doubled"], found["out_of_order"]


def test_each_is_met_once_in_its_order() -> None:
    one, truth = agent("A", "B", "C")
    truth.asked(1, "A")
    assert one.seen() == ["A"]
    truth.asked(2, "A", "B", "C")
    truth.asked(3, "A", "B", "C")
    assert (one.seen(), one.missing(), counted(one)) == (["A", "B", "C"], [], (0, 0, 0))


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        (["A", "C"], (1, 0, 0)),
        (["A", "B", "B", "C"], (0, 1, 0)),
        (["A", "C", "B"], (0, 0, 2)),
    ],
)
def test_what_is_wrong_is_counted(asked: list[str], wrong: tuple[int, int, int]) -> None:
    one, truth = agent("A", "B", "C")
    truth.asked(1, *asked)
    assert counted(one) == wrong


@pytest.mark.parametrize(("again", "doubled"), [((), 0), (("A",), 1)])
def test_after_an_end_it_is_another_conversation(again: tuple[str, ...], doubled: int) -> None:
    one, truth = agent("A", "B")
    truth.asked(1, "A")
    one.seen()
    one.ends.append(2)
    truth.asked(3, *again, "B")
    assert counted(one) == (0, doubled, 0)


def test_parts_are_those_behind_the_last_whole_week(tmp_path: Path) -> None:
    part = {"case": PART, "by": {"codex": {"type": 2}}, "parts": 1}
    part |= dict.fromkeys(("sent", "lost", "doubled", "out_of_order", "kills", "restarts", "switches"), 2)
    part |= {"held_and_settled": 0, "seconds": 60}
    rows = [part, part | {"case": WHOLE}, {"case": "short"}, part, part]
    path = tmp_path / "results.jsonl"
    assert _parts(path) == []
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    parts = _parts(path)
    assert len(parts) == 2
    added = _sum(parts)
    assert (added["sent"], added["seconds"], added["by"], added["parts"]) == (4, 120, {"codex": {"type": 4}}, 2)
