"""Sentry: faults of this program, transports that begin to fail, dead letters, a dead launcher. Never a message's text.

Imported only where a DSN is configured. What is sent is chosen here piece by piece (sentry-sdk 2.75): no default
integrations, so nothing looks at HTTP requests, subprocesses or argv; no local variables, no request bodies, no traces.
`send_default_pii` is off because it is not given: 2.75 warns of whoever gives it, even as False.
"""

import itertools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.integrations.huey import HueyIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration
from sentry_sdk.scrubber import DEFAULT_DENYLIST, EventScrubber
from sentry_sdk.utils import BadDsn

from worker import __version__
from worker.delivery import State
from worker.errors import BusWatchError, ConfigError
from worker.secret import Secret
from worker.telemetry.observer import Ended, Observer
from worker.telemetry.redact import redact

if TYPE_CHECKING:
    from sentry_sdk._types import Breadcrumb, BreadcrumbHint, Event, Hint

FAULTS_AN_HOUR = 3  # of one kind: a full disk fails every poll in the same way
DRIFTS_AN_HOUR = 1  # of one version of a UI: it shows the same until somebody mends the profile
EPISODES_AN_HOUR = 10  # of one lane that fails and works and fails
DEAD_LETTERS_AN_HOUR = 30  # of one lane: after these, everybody knows

# Their words are ours or the system's; those of any other exception may quote what it choked on: perhaps a message.
_OWN_WORDS = (BusWatchError, OSError, sqlite3.Error)


class SentryReporter(Observer):
    """Reports trouble once: a failing transport when it begins to fail, not at each attempt.

    An episode lasts from the first failure of a lane until it succeeds. The ledger's attempts tell where one begins,
    so that a restart in the middle of it reports nothing again.
    """

    def __init__(self, dsn: Secret, environment: str | None) -> None:
        """Start the SDK. Raises ConfigError where the DSN is none."""
        self._quota = _Quota()
        try:
            sentry_sdk.init(
                dsn=dsn.reveal(),
                environment=environment,
                release=f"bus-watch@{__version__}",
                default_integrations=False,
                auto_enabling_integrations=False,
                integrations=[
                    HueyIntegration(),
                    ExcepthookIntegration(),
                    ThreadingIntegration(propagate_scope=False),
                    LoggingIntegration(level=logging.INFO, event_level=None, sentry_logs_level=None),
                    DedupeIntegration(),
                    AtexitIntegration(callback=lambda _pending, _timeout: None),  # says nothing on standard error
                ],
                include_local_variables=False,
                max_request_body_size="never",
                trace_propagation_targets=[],
                auto_session_tracking=False,
                event_scrubber=EventScrubber(denylist=[*DEFAULT_DENYLIST, "text", "body", "output"], recursive=True),
                before_send=self._before_send,
                before_breadcrumb=_before_breadcrumb,
            )
        except BadDsn:
            raise ConfigError("sentry_dsn is no Sentry DSN; it looks like https://KEY@HOST/PROJECT") from None

    def ended(self, what: Ended) -> None:
        """Report a dead letter, else the beginning of an episode."""
        facts = {"message_id": what.message_id, "delivery": what.delivery, "attempt": what.attempt}
        if what.state is State.DEAD:
            self._dead(what.agent, what.transport, what.cause, facts)
        elif what.began_failing and self._quota.allows(f"failing {what.agent}/{what.transport}", EPISODES_AN_HOUR):
            words = f"{what.transport} for {what.agent} began to fail: {what.cause}"
            _report("failing", "warning", words, what.agent, what.transport, facts)

    def unknown_screen(self, ui: str, version: str) -> None:
        """Report it, once an hour for each version; no word of the screen goes along."""
        self._drift("unknown-screen", ui, version, "shows a screen that its profile does not explain")

    def unknown_channel(self, ui: str, version: str) -> None:
        """Report it, once an hour for each version."""
        self._drift("unknown-channel", ui, version, "has a channel that is not as it was measured")

    def _drift(self, kind: str, ui: str, version: str, what: str) -> None:
        if self._quota.allows(f"{kind} {ui} {version}", DRIFTS_AN_HOUR):
            words = f"{ui} {version or '(version unknown)'} {what}"
            sentry_sdk.capture_event(
                {
                    "level": "warning",
                    "logger": "bus_watch.deliver",
                    "message": words,
                    "fingerprint": [kind, ui, version],
                    "tags": {"ui": ui, "ui_version": version},
                }
            )

    def expired(self, agent: str, transport: str, message_id: str) -> None:
        """Report a dead letter."""
        self._dead(agent, transport, "expired", {"message_id": message_id})

    def _dead(self, agent: str, transport: str, cause: str, facts: dict[str, object]) -> None:
        if self._quota.allows(f"dead {agent}/{transport}", DEAD_LETTERS_AN_HOUR):
            _report("dead-letter", "error", f"dead letter: {transport} for {agent}: {cause}", agent, transport, facts)

    def trouble(self, error: BusWatchError) -> None:
        """Report it, a few times an hour while it lasts."""
        if self._quota.allows(f"trouble {error.code}", FAULTS_AN_HOUR):
            sentry_sdk.capture_event(
                {
                    "level": "error",
                    "logger": "bus_watch.ledger",
                    "message": str(error),
                    "fingerprint": ["trouble", error.code],
                    "tags": {"code": error.code},
                }
            )

    def crashed(self, error: Exception) -> None:
        """Report it; `_before_send` sees to how often, and to what it may quote."""
        sentry_sdk.capture_exception(error)

    def launcher_died(self) -> None:
        """Report it, and see that it gets out: this process ends soon."""
        sentry_sdk.capture_event(
            {
                "level": "fatal",
                "logger": "bus_watch.launcher",
                "message": "the launcher died; this worker stops, its supervisor should start it again",
                "fingerprint": ["launcher-died"],
            }
        )

    def _before_send(self, event: "Event", hint: "Hint") -> "Event | None":
        exc_info = hint.get("exc_info")
        if exc_info is not None:
            kind = f"{exc_info[0].__name__} in {event.get('transaction')}"
            if not self._quota.allows(kind, FAULTS_AN_HOUR):
                return None
            _withhold_foreign_words(event, exc_info[1])
        event.pop("request", None)
        return cast("Event", redact.everywhere(event))


def _report(kind: str, level: str, message: str, agent: str, transport: str, facts: dict[str, object]) -> None:
    event = {
        "level": level,
        "logger": "bus_watch.deliver",
        "message": message,
        "fingerprint": [kind, agent, transport],
        "tags": {"agent": agent, "transport": transport},
        "extra": facts,
    }
    sentry_sdk.capture_event(cast("Event", event))


def _before_breadcrumb(crumb: "Breadcrumb", _hint: "BreadcrumbHint") -> "Breadcrumb":
    return cast("Breadcrumb", redact.everywhere(crumb))


def _withhold_foreign_words(event: "Event", error: BaseException) -> None:
    ours = {type(one).__name__ for one in _chain(error) if isinstance(one, _OWN_WORDS)}
    for value in (event.get("exception") or {}).get("values", []):
        if value.get("type") not in ours:
            value["value"] = "(withheld: it may quote a message; see the worker's log)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(50):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


class _Quota:
    """So many of a kind an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spent: dict[str, list[float]] = {}

    def allows(self, kind: str, an_hour: int) -> bool:
        """Whether there is room for one more; if so it is spent."""
        now = self._clock()
        with self._lock:
            recent = list(itertools.dropwhile(lambda at: now - at > 3600, self._spent.get(kind, [])))
            if allowed := len(recent) < an_hour:
                recent.append(now)
            self._spent[kind] = recent
            return allowed
