"""Metrics for who scrapes the web view: what the worker counts in its `metrics_file`, else what the ledger tells."""

import time
from pathlib import Path

from worker.errors import ConfigError
from worker.settings import Settings
from worker.view.access import ledger_of

FRESH_SECONDS = 60.0  # a worker writes its file every few seconds
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(settings: Settings) -> bytes:
    """Prometheus's text format. ConfigError: the extra `metrics` is not installed; LedgerError."""
    if settings.metrics_file is not None:
        path = Path(settings.metrics_file).expanduser()
        try:
            if time.time() - path.stat().st_mtime < FRESH_SECONDS:
                return path.read_bytes()
        except OSError:
            pass  # no worker has written it yet
    try:
        from worker.telemetry.metrics import of_ledger  # noqa: PLC0415 - an extra: it may not be there
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise ConfigError("/metrics needs an extra; install it with: pip install 'bus-watch[metrics]'") from None
    with ledger_of(settings) as db:
        return of_ledger(settings, lambda query: query(db))
