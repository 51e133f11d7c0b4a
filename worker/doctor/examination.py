"""`doctor`: every check in turn, each on its own, so that one that cannot even be made hides none of the others."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from worker import configuration
from worker.doctor import (
    alerts,
    bus,
    connection,
    files,
    ledger,
    limits,
    old_watchers,
    panes,
    profiles,
    programs,
    running,
    stopping,
    transports,
)
from worker.doctor.finding import Finding
from worker.errors import ConfigError


def examine(config: Path, *, offline: bool, probe: bool = False) -> Iterator[Finding]:
    """Everything that would go wrong when the worker runs with this configuration; never raises."""
    yield from _guarded("worker", programs.check)
    try:
        settings = configuration.load(config)
    except ConfigError as error:
        yield from (Finding("FAIL", "config", line) for line in str(error).splitlines())
    else:
        yield Finding("ok", "config", f"{config}, for {', '.join(agent.agent for agent in settings.agents)}")
        yield from _guarded("files", lambda: files.check(settings))
        yield from _guarded("bridge_url", lambda: connection.check(settings))
        yield from _guarded("transports", lambda: transports.check(settings))
        yield from _guarded("panes", lambda: panes.check(settings, os.environ, probe=probe))
        yield from _guarded("alerts", lambda: alerts.check(settings))
        yield from _guarded("limits", lambda: limits.check(settings))
        yield from _guarded("unit", lambda: stopping.check(settings))
        yield from _guarded("disk", lambda: ledger.room(settings))
        yield from _guarded("ledger", lambda: ledger.check(settings))
        yield from _guarded("now", lambda: running.check(settings))
        environment = dict(os.environ)
        yield from _guarded("token", lambda: bus.tokens(settings, offline=offline, environment=environment))
        if not offline:
            yield from _guarded("clock", lambda: bus.clocks(settings))
    yield from _guarded("agent profiles", lambda: profiles.check(os.environ))
    yield from _guarded("old watcher", lambda: old_watchers.check(Path.home()))


def _guarded(name: str, examined: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from examined()
    except Exception as error:  # noqa: BLE001 - whatever it is, a person is told, and the other checks go on
        yield Finding("FAIL", name, f"the check itself failed: {type(error).__name__}: {error}")
