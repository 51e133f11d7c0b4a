"""`doctor`: every check in turn, each on its own, so that one that cannot even be made hides none of the others."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from worker import configuration
from worker.doctor import bus, checks, old_watchers
from worker.doctor.finding import Finding
from worker.errors import ConfigError


def examine(config: Path, *, offline: bool) -> Iterator[Finding]:
    """Everything that would go wrong when the worker runs with this configuration; never raises."""
    yield from _guarded("worker", checks.programs)
    try:
        settings = configuration.load(config)
    except ConfigError as error:
        yield from (Finding("FAIL", "config", line) for line in str(error).splitlines())
    else:
        yield Finding("ok", "config", f"{config}, for {', '.join(agent.agent for agent in settings.agents)}")
        yield from _guarded("files", lambda: checks.files(settings))
        yield from _guarded("bridge_url", lambda: checks.connection(settings))
        yield from _guarded("transports", lambda: checks.transports(settings))
        yield from _guarded("limits", lambda: checks.limits(settings))
        yield from _guarded("ledger", lambda: checks.ledger(settings))
        environment = dict(os.environ)
        yield from _guarded("token", lambda: bus.tokens(settings, offline=offline, environment=environment))
        if not offline:
            yield from _guarded("clock", lambda: bus.clocks(settings))
    yield from _guarded("old watcher", lambda: old_watchers.old_watchers(Path.home()))


def _guarded(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - whatever it is, a person is told, and the other checks go on
        yield Finding("FAIL", name, f"the check itself failed: {type(error).__name__}: {error}")
