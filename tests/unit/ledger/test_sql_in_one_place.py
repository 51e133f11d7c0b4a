"""No SQL outside `worker/ledger/`: whoever wants to know something of the ledger asks a function of it."""

import ast
from pathlib import Path

import worker

ROOT = Path(worker.__file__).parents[1]
CALLS = {"execute", "executemany", "executescript"}
OTHER_FILES = {
    "worker/durable.py": "settings of a connection, which ledger and embedded bus share",
    "worker/runtime/storage.py": "huey's own queue file",
    "worker/runtime/postgres_storage.py": "huey's own queue tables",
    "worker/bus/embedded/store.py": "the embedded bus's own file",
    "worker/bus/embedded/shares.py": "the same",
    "worker/terminal/transcript.py": "the transcript that an agent's program keeps in SQLite",
}


def _sql(path: Path) -> list[int]:
    """The lines of a module that give a database a statement."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS
    ]


def test_only_the_ledger_speaks_sql_to_the_ledger() -> None:
    modules = {
        str(path.relative_to(ROOT)): _sql(path)
        for folder in ("worker", "tasks")
        for path in (ROOT / folder).rglob("*.py")
    }
    speaking = {name for name, lines in modules.items() if lines and not name.startswith("worker/ledger/")}
    assert speaking == set(OTHER_FILES)
    assert modules["worker/ledger/claims.py"]
