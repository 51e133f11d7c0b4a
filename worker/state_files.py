"""Where a worker's files lie, told by `state_path` alone: commands that agents call often know it without pydantic."""

from pathlib import Path

DEFAULT_CONFIG = Path("~/.sos/bus-watch.json")
DEFAULT_STATE = "~/.sos/bus-watch-state.json"
CONFIG_VARIABLE = "BUS_WATCH_CONFIG"
ENV_PREFIX = "BUS_WATCH_"


def ledger_file(state_path: str) -> Path:
    """Our ledger: beside the old watcher's."""
    return Path(state_path).expanduser().with_suffix(".db")


def files_dir(state_path: str) -> Path:
    """Notes, receipts, message files and worker locks."""
    return ledger_file(state_path).with_suffix(".d")
