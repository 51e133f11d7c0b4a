"""The observers that the settings ask for, as one."""

from collections.abc import Sequence

from worker.errors import BusWatchError, ConfigError
from worker.ledger.port import Ledger
from worker.settings import Settings
from worker.telemetry.observer import Ended, Observer


class Observers(Observer):
    """Several observers, told in turn."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._all = tuple(observers)
        # Each delivery comes by these two, and most observers let both pass.
        self._of_starts = tuple(one for one in observers if type(one).started is not Observer.started)
        self._of_ends = tuple(one for one in observers if type(one).ended is not Observer.ended)

    @property
    def wants_ends(self) -> bool:
        """Whether any of them does."""
        return bool(self._of_ends)

    def started(self, agent: str, transport: str, attempt: int, waited: float) -> None:
        """Tell all."""
        for one in self._of_starts:
            one.started(agent, transport, attempt, waited)

    def ended(self, what: Ended) -> None:
        """Tell all."""
        for one in self._of_ends:
            one.ended(what)

    def unknown_screen(self, ui: str, version: str) -> None:
        """Tell all."""
        for one in self._all:
            one.unknown_screen(ui, version)

    def unknown_channel(self, ui: str, version: str) -> None:
        """Tell all."""
        for one in self._all:
            one.unknown_channel(ui, version)

    def expired(self, agent: str, transport: str, message_id: str) -> None:
        """Tell all."""
        for one in self._all:
            one.expired(agent, transport, message_id)

    def trouble(self, error: BusWatchError) -> None:
        """Tell all."""
        for one in self._all:
            one.trouble(error)

    def crashed(self, error: Exception) -> None:
        """Tell all."""
        for one in self._all:
            one.crashed(error)

    def configured(self, settings: Settings) -> None:
        """Tell all."""
        for one in self._all:
            one.configured(settings)

    def swept(self) -> None:
        """Tell all."""
        for one in self._all:
            one.swept()

    def launcher_died(self) -> None:
        """Tell all."""
        for one in self._all:
            one.launcher_died()


def observe(settings: Settings, database: Ledger | None) -> Observer:
    """What the settings ask for: Sentry (`sentry_dsn`), metrics (`metrics_file`), traces; imported only then.

    Without a database there are no metrics: `run --once` must not overwrite a consumer's file with its own few counts.
    Nor traces. Raises ConfigError: the DSN is none, or an extra is not installed.
    """
    observers: list[Observer] = []
    if settings.sentry_dsn:
        from worker.telemetry.sentry import SentryReporter  # noqa: PLC0415 - 0.1 s that only its users pay

        observers.append(SentryReporter(settings.sentry_dsn, settings.sentry_environment))
    if settings.metrics_file is not None and database is not None:
        try:
            from worker.telemetry.metrics import MetricsFile  # noqa: PLC0415 - an extra: it may not be there
        except ModuleNotFoundError as error:
            if error.name != "prometheus_client":
                raise
            raise ConfigError(
                "metrics_file needs an extra; install it with: pip install 'bus-watch[metrics]'"
            ) from None
        observers.append(MetricsFile(settings, database))
    if settings.traces_endpoint is not None and database is not None:
        try:
            from worker.telemetry.traces import Tracer  # noqa: PLC0415 - the same
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "opentelemetry":
                raise
            raise ConfigError(
                "traces_endpoint needs an extra; install it with: pip install 'bus-watch[otel]'"
            ) from None
        observers.append(Tracer(settings.traces_endpoint, database))
    return Observers(observers)
