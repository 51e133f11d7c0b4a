"""What the pages say of files, states and times is what the code has."""

import re
import sqlite3
from pathlib import Path

from worker import delivery
from worker.delivery import MessageState, State
from worker.ledger.sqlite import SqliteLedger
from worker.runtime import due
from worker.transports import locks, receipt_format, receipts

DOCS = Path(__file__).resolve().parents[3] / "docs"


def section(page: str, heading: str) -> str:
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page} has no section {heading!r}"
    return found[1]


def test_every_table_of_the_ledger_is_named(tmp_path: Path) -> None:
    SqliteLedger(tmp_path / "ledger.db").close()
    database = sqlite3.connect(tmp_path / "ledger.db")
    tables = {name for (name,) in database.execute("select name from sqlite_schema where type = 'table'")}
    database.close()
    kept = section("protocol.md", "What is kept")
    assert {name for name in tables if f"`{name}`" not in kept} == set()


def test_every_file_of_an_attempt_and_of_a_worker_is_named() -> None:
    kept = section("protocol.md", "What is kept")
    for suffix in receipts.SUFFIXES:
        assert f"ATTEMPT{suffix}`" in kept
    for name in (locks.worker_lock("D", "WORKER"), locks.launcher_lock("D", "WORKER")):
        assert Path(name).name in kept
    assert f"WORKER{receipt_format.POOL_INFIX}N`" in kept


def test_the_bytes_of_a_receipt() -> None:
    said = section("protocol.md", "Notes and receipts")
    line = receipt_format.receipt_line(
        attempt="ATTEMPT", boot="BOOT", kind="exit", code=0, started_at=0, ended_at=0, pid=1, tail_length=0
    )
    note = receipt_format.note_line("ATTEMPT", 1, "START", 9.0)
    for written in (line, note):
        assert f"`{b' '.join(written.split()[:3]).decode()} " in said
    assert f"| 0 | {receipt_format.LINE_BYTES} |" in said
    assert f"| {receipt_format.LINE_BYTES} | {receipt_format.LINE_BYTES} |" in said
    assert f"| {receipt_format.TAIL_AT} | TAIL |" in said
    assert all(f"`{kind}`" in said for kind in receipt_format.KINDS)
    assert f"symbolic link to `{receipt_format.VOID}`" in said


def test_every_state_is_explained() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", section("states.md", "A delivery"), re.MULTILINE)) == {
        str(one) for one in State
    }
    message = section("states.md", "A message")
    assert all(f"`{state}`" in message for state in MessageState)


def test_every_exit_status_with_a_meaning_is_explained() -> None:
    said = section("states.md", "What an ending means")
    for code in (*delivery.PERMANENT_EXIT_CODES, delivery.EX_UNAVAILABLE, delivery.EX_TEMPFAIL, delivery.EX_PROTOCOL):
        assert re.search(rf"^\| exit [^|]*\b{code}\b", said, re.MULTILINE), code
    assert f"`dead` after {delivery.MAX_VOIDS} in a row" in said
    assert f"`retrying` in {delivery.NOT_STARTED_DELAY:g} s" in said
    assert f"after {delivery.TEMPFAIL_MIN_DELAY:g}, 10, 20, 40, then every {delivery.TEMPFAIL_MAX_DELAY:g} s" in said


def test_how_often_it_sweeps() -> None:
    assert f"Every {due.SWEEP_SECONDS:g} s" in section("protocol.md", "Sweep")
