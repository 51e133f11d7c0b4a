"""A changed `state_path` takes a restart: until then whoever looks at the new place is told where the worker is.

The worker leaves the note where `status` looks, for it finds neither the worker nor its ledger there.
"""

import contextlib
from pathlib import Path

from worker.atomic_files import write_atomically
from worker.transports.locks import any_worker_lives

NAME = "moved-from"


def note_move(new: Path, old: Path) -> None:
    """Leave a note in the folder of the new place (`files_dir`, made if need be), if it can be written."""
    with contextlib.suppress(OSError):
        new.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(new / NAME, str(old.absolute()).encode(), mode=0o600, durable=False)


def runs_elsewhere(files_dir: Path) -> Path | None:
    """The `files_dir` of a worker that lives and will come to this one; None where there is none."""
    try:
        old = Path((files_dir / NAME).read_text("utf-8"))
        return old if any_worker_lives(old) else None
    except (OSError, ValueError):
        return None


def sentence(old: Path) -> str:
    """What `status` and `reload` say of it."""
    return (
        f"a worker runs with the ledger of before, {old.with_suffix('.db')}: it takes a new state_path when restarted"
    )
