"""The judge finds what it is there to find."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.record import judge

KEYS = ["a/1", "a/2", "a/3"]
GOOD = "a/1 1 start\na/1 1 end\na/2 1 start\na/2 1 end\na/3 1 start\na/3 1 end\n"


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        (GOOD, set()),
        ("", {"lost"}),
        (GOOD.replace("a/2 1 end\n", ""), {"lost"}),
        (GOOD.replace("a/2 1 start\na/2 1 end\n", ""), {"lost"}),
        (GOOD + "a/1 2 start\na/1 2 end\n", {"doubled", "disordered"}),
        (GOOD + "a/3 1 start\na/3 1 end\n", {"doubled", "attempts"}),
        ("a/2 1 start\na/2 1 end\na/1 1 start\na/1 1 end\na/3 1 start\na/3 1 end\n", {"disordered"}),
        ("a/1 1 start\na/2 1 start\na/1 1 end\na/2 1 end\na/3 1 start\na/3 1 end\n", {"overlapping"}),
        (GOOD + "a/9 1 start\na/9 1 end\n", {"lost"}),
    ],
)
def test_each_kind_of_wrong_is_found(tmp_path: Path, record: str, wrong: set[str]) -> None:
    path = tmp_path / "record"
    path.write_text(record)
    verdict = judge({path: KEYS})
    kinds = {"lost", "doubled", "disordered", "overlapping", "attempts"}
    assert {kind for kind in kinds if getattr(verdict, kind)} == wrong, verdict.words()
    assert verdict.clean == (not wrong)


def test_what_was_interrupted_may_run_once_more_if_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_text("a/1 1 start\na/1 2 start\na/1 2 end\na/2 1 start\na/2 1 end\na/3 1 start\na/3 1 end\n")
    assert judge({path: KEYS}, interrupted=Counter(["a/1"])).clean
    assert judge({path: KEYS}).doubled == ["a/1"]
    path.write_text(path.read_text().replace("a/1 2 start", "a/1 1 start").replace("a/1 2 end", "a/1 1 end"))
    assert judge({path: KEYS}, interrupted=Counter(["a/1"])).attempts
