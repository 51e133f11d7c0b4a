"""A long history costs nothing: the short form of `ops/faults scale`, which takes a million rows."""

from pathlib import Path

import pytest

from tests.faults.scale import build, compare, measure, table


def test_twenty_thousand_delivered_messages_change_neither_plans_nor_steps(tmp_path: Path) -> None:
    figures = []
    for rows in (100, 20_000):
        home = tmp_path / str(rows)
        home.mkdir()
        engine = build(home, rows)
        figures.append((f"{rows} delivered", measure(engine, rounds=3)))
        engine.db.close()
    small, large = (one for _, one in figures)
    assert len(large.plans) > 50
    assert not compare(small, large), table(figures)


def test_a_scan_would_be_found(tmp_path: Path) -> None:
    engine = build(tmp_path, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            __import__("tests.faults.scale", fromlist=["OPERATIONS"]).OPERATIONS,
            "bad",
            lambda one: one.db.read(
                lambda db: db.execute("select count(*) from messages where source = 'x'").fetchone()
            ),
        )
        figures = measure(engine, rounds=1)
    engine.db.close()
    assert [scan for scan in figures.scans() if "source = 'x'" in scan]
