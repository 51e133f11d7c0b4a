"""What `install` is about to do: every file, and what a person does next. Nothing here writes."""

import os
import pwd
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker import configuration
from worker.credentials import shown_name
from worker.errors import ConfigError, UsageError
from worker.file_modes import exposed
from worker.install import config_file, installation, launchd, merge, procfile, systemd
from worker.install.config_file import InstallOptions
from worker.install.errors import InstallError
from worker.install.files import Planned, comparison
from worker.install.systemd import UnitProfile
from worker.ledger.other_ledger import other_ledger
from worker.secret import Secret
from worker.settings import Settings
from worker.terminal.channels import handed
from worker.urls import bridge_address

BUS_UNIT = "bus-watch-bus.service"
STANDARD_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Which service files are wanted, and where: `output` overrides the folders where supervisors look."""

    systemd: bool = False
    launchd: bool = False
    procfile: bool = False
    bus: bool = False
    system: bool = False
    user: str | None = None
    profile: UnitProfile = "local"
    credential: str | None = None
    output: Path | None = None

    @property
    def any(self) -> bool:
        """Whether there is anything to write."""
        return self.systemd or self.launchd or self.procfile


@dataclass(slots=True)
class Plan:
    """The files as they shall be; what to know; what to run next."""

    files: list[Planned] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)  # to be made, private, where they are missing
    notes: list[str] = field(default_factory=list)
    next_steps: list[str] = field(default_factory=list)
    owner: tuple[int, int] | None = None


def plan(config: Path, wishes: InstallOptions | None, token: Secret | None, services: Services) -> Plan:
    """Work out everything. Without wishes the configuration that is there is used as it is.

    Raises UsageError, ConfigError, InstallError.
    """
    found = Plan(owner=_owner(services.user))
    user = found.owner[0] if found.owner is not None else None
    settings = configuration.load(config, user=user) if wishes is None else _configure(found, wishes, token)
    _check_environment_tokens(settings, services)
    if services.systemd:
        _systemd(found, settings, services, os.environ)
    if services.launchd:
        _launchd(found, settings, services)
    if services.procfile:
        _procfile(found, settings, services)
    if not services.any:
        found.next_steps.append(f"bus-watch run{_config_option(config)}")
    return found


def _configure(found: Plan, wishes: InstallOptions, token: Secret | None) -> Settings:
    there = _readable(wishes.config)
    if there is None:
        if wishes.token_file is None and wishes.token_env is None:
            raise UsageError("say where the token is: --token-file PATH, --token-env NAME or --token-stdin")
        data = config_file.compose(wishes, os.environ)
    else:
        data = merge.merged(there, wishes, os.environ)
    return configured(found, wishes, data, token)


def configured(found: Plan, wishes: InstallOptions, data: dict[str, Any], token: Secret | None) -> Settings:
    """Plan this content of the configuration, and the token if one is to be kept; what it means.

    Raises ConfigError where it means nothing.
    """
    settings = configuration.check(data, wishes.config)
    if (reason := exposed(wishes.config, found.owner[0] if found.owner is not None else None)) is not None:
        raise InstallError(f"{wishes.config} would not be trusted: {reason}")
    if token is not None and wishes.token_file is not None:
        found.files.append(Planned(Path(wishes.token_file), f"{token.reveal()}\n", "token", 0o600, owner=found.owner))
    found.files.append(config_plan(wishes.config, data, found.owner))
    agent = settings.agent(wishes.agent)
    if agent is not None and [list(one.command) for one in agent.transports] == [config_file.STARTER["command"]]:
        found.notes.append(
            "Nothing is woken yet: the starter transport only prints. Say --tmux SESSION or --transport 'NAME=ARGV...'."
        )
    if (other := other_ledger(settings)) is not None:
        found.notes.append(other)
    found.next_steps.append(f"bus-watch doctor{_config_option(wishes.config)}")
    return settings


def config_plan(config: Path, data: dict[str, Any], owner: tuple[int, int] | None = None) -> Planned:
    """The configuration with this content."""
    return Planned(config, config_file.as_text(data), "config", 0o600, owner=owner)


def _readable(config: Path) -> dict[str, Any] | None:
    """What is there to be merged with; None where there is nothing, or nothing that could be read."""
    try:
        return configuration.read(config)
    except ConfigError:
        return None


def _check_environment_tokens(settings: Settings, services: Services) -> None:
    if not (services.systemd or services.launchd):
        return
    for agent in settings.agents:
        if agent.token_env is not None:
            raise UsageError(
                f"the token of {agent.agent} is in the variable {shown_name(agent.token_env)}, which a service does "
                "not have: "
                "give --token-file or --token-stdin"
            )


def _systemd(found: Plan, settings: Settings, services: Services, environment: Mapping[str, str]) -> None:
    if services.system and services.user is None:
        raise UsageError("--system needs --user NAME: the worker runs as the user whose agents it wakes, not as root")
    if services.user is not None and not services.system:
        raise UsageError("--user NAME is for --system; a user unit is its user's")
    name = f"{installation.instance(settings.config_path)}.service"
    notes = _notes(services.user) if services.profile == "local" else None
    stop = systemd.stop_seconds(transport.timeout for agent in settings.agents for transport in agent.transports)
    text = systemd.render(
        systemd.Unit(
            agents=_agents(settings),
            consumer=tuple(installation.consumer(stop)),
            reload=(str(installation.script("bus-watch")), "reload"),
            stop_seconds=stop,
            config=settings.config_path,
            writable=_writable(settings),
            path_variable=_path_variable(),
            credential=services.credential,
            user=services.user,
            profile=services.profile,
            channels=() if notes is None else (notes, _sockets(services.user)),
        )
    )
    if services.system:
        folder = services.output or Path("/etc/systemd/system")
        control = "sudo systemctl"
    else:
        home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        folder = services.output or home / "systemd" / "user"
        control = "systemctl --user"
    found.files.append(Planned(folder / name, text, "service"))
    units = [name]
    if services.bus:
        command = (*_bus(settings), "--db", str(bus_db(services.user)))
        unit = systemd.render_bus(command, bus_db(services.user).parent, services.user)
        found.files.append(Planned(folder / BUS_UNIT, unit, "service"))
        units.insert(0, BUS_UNIT)
    if notes is not None:
        _make_notes(found, notes, services)
    found.next_steps += [f"{control} daemon-reload", f"{control} enable --now {' '.join(units)}"]
    if not services.system:
        found.next_steps.append("loginctl enable-linger        # to keep it running while nobody is logged in")


def _launchd(found: Plan, settings: Settings, services: Services) -> None:
    names = [agent.agent for agent in settings.agents]
    job = launchd.label(names, installation.instance(settings.config_path))
    consumer = installation.consumer(launchd.STOP_SECONDS)
    text = launchd.render(job, consumer, settings.config_path, settings.ledger_file.parent)
    found.folders.append(settings.ledger_file.parent)  # of the logs, too: launchd starts nothing that has no log
    folder = services.output or Path.home() / "Library" / "LaunchAgents"
    found.files.append(Planned(folder / f"{job}.plist", text, "service"))
    bus_steps: list[str] = []
    if services.bus:
        bus_text = launchd.render_bus(_bus(settings), settings.ledger_file.parent)
        bus_plist = folder / f"{launchd.BUS_LABEL}.plist"
        found.files.append(Planned(bus_plist, bus_text, "service"))
        bus_steps = [f"launchctl bootstrap gui/$(id -u) {bus_plist}"]
    found.next_steps += [
        "launchctl list | grep bus-watch     # an old watcher's job is listed? then first:",
        "launchctl bootout gui/$(id -u)/LABEL",
        f"launchctl bootout gui/$(id -u)/{job}     # while it is loaded, bootstrap fails: 5",
        *bus_steps,
        f"launchctl bootstrap gui/$(id -u) {folder / f'{job}.plist'}",
        f"launchctl print gui/$(id -u)/{job}     # is it running?",
        f"launchctl kickstart -k gui/$(id -u)/{job}     # a restart: after an upgrade, for instance",
        "# gui/UID is there only while its user is logged in at the screen, not over ssh alone",
    ]


def _procfile(found: Plan, settings: Settings, services: Services) -> None:
    folder = services.output or settings.config_path.parent
    path = folder / "Procfile"
    line = procfile.line(
        installation.instance(settings.config_path), installation.consumer(procfile.STOP_SECONDS), settings.config_path
    )
    if services.bus:
        line = f"{procfile.bus_line(_bus(settings))}\n{line}"
    existing = path.read_text(encoding="utf-8") if path.is_file() else ""
    found.files.append(Planned(path, procfile.merged(existing, line), "line", line=line))
    environment = Planned(folder / ".env", procfile.ENVIRONMENT, "service", 0o600)
    if comparison(environment) == "new" or not existing:
        found.files.append(environment)
    found.next_steps.append(f"honcho -d {folder} start        # or foreman, or overmind, in that folder")


def _bus(settings: Settings) -> list[str]:
    """The argv of the embedded bus, where the configuration looks for one."""
    addresses = {agent.bridge_url for agent in settings.agents}
    address = bridge_address(addresses.pop())
    if addresses or address.scheme != "http" or address.hostname not in {"localhost", "127.0.0.1"}:
        raise UsageError("--bus serves this machine: leave out --bridge-url, or say http://127.0.0.1:PORT")
    return [str(installation.script("bus-watch")), "bus", "--port", str(address.port or 80)]


def _owner(user: str | None) -> tuple[int, int] | None:
    """Whom the private files belong to, where root writes them for somebody else."""
    if user is None or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def bus_db(user: str | None) -> Path:
    """Where the embedded bus keeps its messages: in the home folder of whoever it runs as."""
    home = Path.home() if user is None else home_of(user)
    return home / ".sos" / "bus.db"


def home_of(user: str) -> Path:
    """The home folder of the user of a system unit.

    Raises InstallError where there is no such user.
    """
    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except KeyError:
        raise InstallError(f"there is no user {user!r}: make one, or say --config PATH") from None


def _writable(settings: Settings) -> tuple[Path, ...]:
    """The folders that the worker writes to."""
    files = [settings.config_path, settings.ledger_file]
    files += [Path(name).expanduser() for name in (settings.log_file, settings.metrics_file) if name]
    return tuple(dict.fromkeys(file.absolute().parent for file in files))


def _notes(user: str | None) -> Path | None:
    """Where the sends of a system unit's user note what they hand over; None where there is no such user yet."""
    try:
        return home_of(user) / handed.BELOW_HOME if user is not None else None
    except InstallError:
        return None


def _sockets(user: str | None) -> Path:
    """Where the inboxes of a system unit's user are, and the answers' sockets beside them: XDG_RUNTIME_DIR."""
    return Path("/run/user", str(pwd.getpwnam(user or "").pw_uid))


def _make_notes(found: Plan, notes: Path, services: Services) -> None:
    """A hardened unit cannot make that folder itself: of a home it writes only what is there when it starts."""
    if services.output is None and (found.owner is not None or os.access(notes.parents[2], os.W_OK)):
        found.folders.append(notes)
    elif not notes.is_dir():
        found.next_steps.append(f"sudo -u {services.user} mkdir -p {shlex.quote(str(notes))}  # else wake types")


def _path_variable() -> str:
    """What a unit's PATH is: the usual folders, and the one where tmux lies if it is none of them."""
    tmux = shutil.which("tmux")
    folder = str(Path(tmux).parent) if tmux else ""
    return STANDARD_PATH if not folder or folder in STANDARD_PATH.split(":") else f"{folder}:{STANDARD_PATH}"


def _agents(settings: Settings) -> str:
    return ", ".join(agent.agent for agent in settings.agents)


def _config_option(config: Path) -> str:
    return "" if config == configuration.config_path() else f" --config {config}"
