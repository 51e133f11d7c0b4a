"""The dead man's switch: while the worker sweeps, somebody elsewhere is told so, and tells people when it falls silent.

Nothing on this machine can say that this machine is off. A check of healthchecks.io, or whatever has its form, is a
secret address that is asked (docs of healthchecks.io, "Pinging API"); a Sentry Cron monitor gets check-ins.
"""

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

from worker.alert_settings import AlertSettings, filled_in
from worker.alerts import http
from worker.alerts.errors import CannotTellError
from worker.settings import Settings
from worker.telemetry.observer import Observer
from worker.telemetry.redact import redact

if TYPE_CHECKING:
    from sentry_sdk._types import MonitorConfig

logger = logging.getLogger("bus_watch.alerts")

MARGIN_MINUTES = 5


class Heartbeat(Observer):
    """A thread, where it is configured, that beats after a sweep if it is time; a slow answer holds no sweep up."""

    def __init__(self, settings: Settings) -> None:
        self._settings: AlertSettings = settings.alerts
        self._due = 0.0  # monotonic seconds
        self._swept = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def configured(self, settings: Settings) -> None:
        """From now on as these say; a change beats at once."""
        if settings.alerts != self._settings:
            self._settings, self._due = settings.alerts, 0.0

    def swept(self) -> None:
        """The worker does its work: beat, if it is time."""
        wanted = self._settings.heartbeat_url_file or self._settings.sentry_monitor
        if not wanted or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._settings.heartbeat_every
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="Heartbeat", daemon=True)
            self._thread.start()
        self._swept.set()

    def _run(self) -> None:
        while True:
            self._swept.wait()
            self._swept.clear()
            try:
                self.beat()
            except CannotTellError as error:
                if not self._failing:  # once an episode
                    logger.warning("the heartbeat does not get through: %s", redact(str(error)))
                self._failing = True
            except Exception:  # a bad moment must not end the thread
                logger.exception("the heartbeat failed")
                self._failing = True
            else:
                if self._failing:
                    logger.info("the heartbeat gets through again")
                self._failing = False

    def beat(self) -> None:
        """Once. CannotTellError: it did not get through."""
        settings = self._settings
        if settings.sentry_monitor:
            _check_in(settings.sentry_monitor, settings.heartbeat_every)
        if settings.heartbeat_url_file:
            http.post(http.address(filled_in(settings.heartbeat_url_file)), text="")


def _check_in(monitor: str, every: float) -> None:
    from sentry_sdk.crons import capture_checkin  # noqa: PLC0415 - only where a DSN is configured

    config: MonitorConfig = {
        "schedule": {"type": "interval", "value": max(1, math.ceil(every / 60)), "unit": "minute"},
        "checkin_margin": MARGIN_MINUTES,
        "failure_issue_threshold": 1,
        "recovery_threshold": 1,
    }
    capture_checkin(monitor_slug=monitor, status="ok", monitor_config=config)
