"""The checks of `doctor` that need nobody else: files, commands, limits, the ledger."""

import os
import resource
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from worker.doctor.finding import Finding
from worker.doctor.interpreters import danger
from worker.errors import BusWatchError, ConfigError
from worker.install import installation
from worker.install.config_file import STARTER
from worker.ledger import database, integrity
from worker.ledger.errors import LedgerMissingError
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.transports.command import check_command
from worker.urls import travels_in_clear

ENOUGH_BYTES = 100 * 1024 * 1024
FILES_A_WORKER = 8  # descriptors that one running transport may need, in worker and launcher
FILES_ANYWAY = 64


def files(settings: Settings) -> Iterator[Finding]:
    """Who else can read a token or change what is run."""
    config = settings.config_path
    mode = stat.S_IMODE(config.stat().st_mode)
    holds_token = any(agent.token is not None for agent in settings.agents)
    if holds_token and mode & 0o077:
        yield Finding("FAIL", "config", f"{config} holds a token and others can read it: chmod 600 {config}")
    elif mode & 0o022:
        yield Finding("FAIL", "config", f"others can change {config}, and so what is run: chmod 600 {config}")
    folder = stat.S_IMODE(config.parent.stat().st_mode)
    if folder & 0o022 and not folder & stat.S_ISVTX:
        yield Finding("FAIL", "config", f"others can replace files in {config.parent}: chmod 700 {config.parent}")
    for agent in settings.agents:
        path = agent.token_source(config).path
        if path is None or agent.token_file is None or "$CREDENTIALS_DIRECTORY" in agent.token_file:
            continue
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # the check of the token says so
        if mode & 0o077:
            text = f"others can read {path} (mode {mode:04o}): chmod 600 {path}"
            yield Finding("FAIL", "token file", text, agent.agent)


def connection(settings: Settings) -> Iterator[Finding]:
    """Tokens in the clear, budgets that the bridge does not grant."""
    for agent in settings.agents:
        if travels_in_clear(agent.bridge_url):
            text = f"the token travels in the clear to {agent.bridge_url}, as allow_insecure_http says"
            yield Finding("note", "bridge_url", text, agent.agent)
        if agent.requests_per_minute > 60:
            text = f"{agent.requests_per_minute}, where bridges allow 60 unless the token is an elevated one"
            yield Finding("note", "requests_per_minute", text, agent.agent)


def transports(settings: Settings) -> Iterator[Finding]:
    """Whether each agent can be woken."""
    for agent in settings.agents:
        if not agent.transports:
            text = "there is none, so its inbox is not polled: install --tmux SESSION, or add one to transports"
            yield Finding("FAIL", "transport", text, agent.agent)
        for transport in agent.transports:
            yield from _transport(settings, agent, transport)


def _transport(settings: Settings, agent: AgentSettings, transport: TransportSettings) -> Iterator[Finding]:
    name = f"transport {transport.name}"
    try:
        program = transport.templates[0]
        if program.fields:
            raise ConfigError(f"{program.argument!r} is chosen by the message; write the executable's path")
        check_command(program.render({}), settings.allowlist)
    except BusWatchError as error:
        yield Finding("FAIL", name, str(error), agent.agent)
        return
    if (reason := danger(transport.templates)) is not None:
        yield Finding("FAIL", name, reason, agent.agent)
        return
    if list(transport.command) == STARTER["command"]:
        text = "the starter only prints, and wakes nobody: install --tmux SESSION --force, or write your own"
        yield Finding("note", name, text, agent.agent)
        return
    yield from _submitter(name, agent, transport) or [Finding("ok", name, transport.command[0], agent.agent)]


def _submitter(name: str, agent: AgentSettings, transport: TransportSettings) -> list[Finding]:
    """What the built-in submitter needs on this host: tmux, and the session some time."""
    command = list(transport.command)
    remote = any(word in {"-H", "--host"} for word in command)
    if Path(command[0]).name not in {"send-message", "send-message.sh"} or "-t" not in command[:-1] or remote:
        return []
    tmux = shutil.which("tmux")
    if tmux is None:
        return [Finding("FAIL", name, "tmux is not on PATH: install it", agent.agent)]
    argv = [tmux]
    if "--socket-path" in command[:-1]:
        argv += ["-S", command[command.index("--socket-path") + 1]]
    session = command[command.index("-t") + 1].partition(":")[0]
    if session.startswith("%"):
        return []
    argv += ["has-session", "-t", f"={session}"]
    environment = {key: value for key, value in os.environ.items() if key != "TMUX"}
    try:
        there = subprocess.run(argv, check=False, capture_output=True, timeout=10, env=environment).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        there = False
    if there:
        return []
    return [Finding("note", name, f"there is no tmux session {session!r} now; messages wait until it is", agent.agent)]


def limits(settings: Settings) -> Iterator[Finding]:
    """What this process may open, and room for the ledger."""
    needed = settings.workers * FILES_A_WORKER + len(settings.agents) * 2 + FILES_ANYWAY
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        text = f"{settings.workers} workers may need {needed} open files, {allowed} are allowed: ulimit -n {needed}"
        yield Finding("FAIL", "workers", text)
    folder = _existing(settings.ledger_file.parent)
    free = shutil.disk_usage(folder).free
    if free < ENOUGH_BYTES:
        yield Finding("FAIL", "disk", f"only {free // 2**20} MiB are free at {folder}: make room")


def ledger(settings: Settings) -> Iterator[Finding]:
    """Whether the ledger can be written, or made; it is left as it is."""
    path = settings.ledger_file
    folder = _existing(path.parent)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("FAIL", "ledger", f"{folder} cannot be written: chown or chmod it, or change state_path")
        return
    if not path.exists():
        yield Finding("ok", "ledger", f"{path} will be made")
        return
    try:
        with database.reading(path):
            pass
    except LedgerMissingError:
        yield Finding("ok", "ledger", f"{path} is of an older version, and will be migrated")
        return
    except BusWatchError as error:
        yield Finding("FAIL", "ledger", str(error))
        return
    try:
        integrity.try_writing(path)
    except sqlite3.Error as error:
        yield Finding("FAIL", "ledger", f"{path} cannot be written ({error}): check its owner and mode")
        return
    others = [p for p in (path, settings.queue_file) if p.exists() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    if others:
        yield Finding("FAIL", "ledger", f"others can read {others[0]}: chmod 600 {others[0]}")
        return
    yield Finding("ok", "ledger", str(path))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def programs() -> Iterator[Finding]:
    """Whether this installation is complete."""
    try:
        yield Finding("ok", "worker", str(installation.script("huey_consumer", "huey_consumer.py")))
    except BusWatchError as error:
        yield Finding("FAIL", "worker", str(error))
