"""Whether a configuration is about to begin a new ledger although there is one that knows its agents."""

import contextlib
import sqlite3
from pathlib import Path

from worker.settings import Settings
from worker.state_files import DEFAULT_CONFIG


def other_ledger(settings: Settings) -> str | None:
    """A warning, where `state_path` names no ledger yet and one of these agents has another; else None."""
    if settings.is_fleet or settings.ledger_file.exists():
        return None
    folders = {settings.config_path.absolute().parent, settings.ledger_file.parent, DEFAULT_CONFIG.expanduser().parent}
    for path in sorted(found for folder in folders for found in folder.glob("*.db")):
        known = _inboxes(path) & {agent.agent for agent in settings.agents}
        if known:
            return (
                f"{settings.ledger_file} is a new ledger, and takes the messages of the last 24 h (start_from) again, "
                f"also those that {', '.join(sorted(known))} got by {path}: set state_path back, or start_from to now"
            )
    return None


def _inboxes(path: Path) -> set[str]:
    """The agents that a ledger knows; none where the file is no ledger."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db,
    ):
        return {str(agent) for (agent,) in db.execute("select agent from inboxes")}
    return set()
