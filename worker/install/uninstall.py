"""What `uninstall` takes away: what the list beside the configuration says that `install` wrote, and nothing else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker import configuration
from worker.errors import BusWatchError, ConfigError
from worker.install.files import Manifest, remove, write
from worker.settings import Settings
from worker.state_files import DEFAULT_CONFIG
from worker.transports.locks import any_worker_lives


class StillRunningError(BusWatchError):
    """The worker must be stopped first; nothing was removed."""

    code = "still-running"


def uninstall(config: Path, *, purge: bool) -> Iterator[str]:
    """Remove, and say each thing that was done; `purge` takes configuration, stored token and ledger too.

    Raises StillRunningError, with the commands that stop the worker; ConfigError where purging cannot tell what is
    ours.
    """
    manifest = Manifest.beside(config)
    settings = _settings(config, purge=purge)
    services = manifest.of_kind("service", "line")
    _refuse_while_in_use(settings, services)
    for entry in services:
        yield remove(entry)
        del manifest.entries[entry["path"]]
    if purge:
        if settings is not None:
            yield from _remove_ledger(settings)
        for entry in manifest.of_kind("token", "config"):
            yield remove(entry)
            del manifest.entries[entry["path"]]
        yield from _left(config, settings)
    if manifest.entries:
        write(manifest.planned())
    else:
        manifest.path.unlink(missing_ok=True)


def stop_commands(services: list[dict[str, Any]]) -> list[str]:
    """What stops the services of these entries, and keeps them from coming back."""
    commands = []
    for entry in services:
        path = Path(entry["path"])
        if path.suffix == ".service":
            control = "systemctl --user" if "user" in path.parts else "sudo systemctl"
            commands.append(f"{control} disable --now {path.name}")
        elif path.suffix == ".plist":
            commands.append(f"launchctl bootout gui/$(id -u)/{path.stem}")
        elif entry["kind"] == "line":
            commands.append(f"stop what runs {path}")
    return commands


def _settings(config: Path, *, purge: bool) -> Settings | None:
    """Where the ledger is; only purging cannot do without. An administrator may do it for the one whose it is."""
    try:
        return configuration.load(config, user=config.stat().st_uid if config.exists() else None)
    except ConfigError:
        if purge and config.exists():
            raise
        return None


def _refuse_while_in_use(settings: Settings | None, services: list[dict[str, Any]]) -> None:
    running = settings is not None and any_worker_lives(settings.files_dir)
    enabled = any(
        (Path(entry["path"]).parent / wanted / Path(entry["path"]).name).is_symlink()
        for entry in services
        for wanted in ("default.target.wants", "multi-user.target.wants")
    )
    if running or enabled:
        commands = stop_commands(services) or ["stop it where it was started"]
        state = "the worker is running" if running else "the service is still enabled"
        raise StillRunningError(f"{state}, and nothing was removed; first: " + "; ".join(commands))


def _left(config: Path, settings: Settings | None) -> Iterator[str]:
    """What purging does not take, because somebody else gave it or uses it."""
    for agent in settings.agents if settings is not None else ():
        path = agent.token_source(config).path
        if path is not None and path.exists():
            yield f"left {path}: the token of {agent.agent}, which install did not write"
    if settings is not None and settings.state_file.exists():
        yield f"left {settings.state_file}: the old watcher's state"
    if settings is not None and settings.log_file and Path(settings.log_file).expanduser().exists():
        yield f"left {Path(settings.log_file).expanduser()}: the log"
    bus = DEFAULT_CONFIG.expanduser().with_name("bus.db")
    if bus.exists():
        yield f"left {bus}: the messages and agents of this machine's own bus"
    for other in sorted(config.parent.glob("*-installed.json")):
        second = other.with_name(other.name.replace("-installed.json", ".json"))
        if second != config and second.exists():
            yield f"left {second} and what belongs to it: bus-watch uninstall --purge --config {second}"


def _remove_ledger(settings: Settings) -> Iterator[str]:
    for file in (settings.ledger_file, settings.queue_file):
        for path in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
            if path.exists():
                path.unlink()
                yield f"removed {path}"
    if settings.files_dir.is_dir():
        shutil.rmtree(settings.files_dir)
        yield f"removed {settings.files_dir}"
