"""A look at a pane by everything that a message would go by, without typing: `send-message --look`, `doctor --probe`.

Promises: no key is pressed, nothing is pasted, no mode is left, no lock is taken, nothing is written. What is found
may hold anything that a screen can hold; whoever prints it filters it.
"""

from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import BusWatchError
from worker.terminal import processes, screen, target
from worker.terminal.catalogue import Catalogue
from worker.terminal.channels.sites import offered, site_of
from worker.terminal.places import Pane
from worker.terminal.processes import Process
from worker.terminal.profiles import Profile, ProfileError
from worker.terminal.runner import LocalRunner
from worker.terminal.tmux import Look, Server
from worker.terminal.transcript import Watch, surroundings
from worker.terminal.versions import version_of

READY = frozenset({"idle", "busy"})


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file in which the agent may write down what it was told."""

    path: str
    bytes: int
    modified: float
    """Seconds since 1970."""


@dataclass(slots=True, kw_only=True)
class Examined:
    """What was found; what could not be is empty."""

    pane: Pane
    host: str
    group: list[Process] = field(default_factory=list)
    """The processes that would read what is typed."""
    profile: Profile | None = None
    process: Process | None = None
    """The one that the profile knows."""
    version: str = ""
    matched: str = ""
    """Why this profile and no other, or why none."""
    others: dict[str, str] = field(default_factory=dict)
    """Each other profile, and why it is not the one."""
    look: Look | None = None
    seen: screen.Judgement | None = None
    would: str = "refused"
    """What a message would come to: `submitted`, `deferred`, `refused` or `gone`; a promise of nothing."""
    why: str = ""
    """For people: the state, and what decided it."""
    records: list[RecordFile] = field(default_factory=list)
    channels: dict[str, str] = field(default_factory=dict)
    """The agent's own channels, each with why `wake` would not take it; empty: it reaches this session."""
    alike: list[str] = field(default_factory=list)
    """Profiles whose empty box stands at the cursor, where none is the agent's own."""

    @property
    def state(self) -> str:
        """The screen's, or `none` where no profile says what it shows."""
        return self.seen.state if self.seen is not None else "none"

    @property
    def measured(self) -> str:
        """The version that the profile was measured on."""
        return self.profile.measured if self.profile is not None else ""


def examine(server: Server, pane: Pane, profiles: Catalogue, chosen: str = "") -> Examined:
    """Look at one pane.

    Args:
        server: its tmux server.
        pane: as `Server.candidates` gives it.
        profiles: all there are.
        chosen: the profile that the caller vouches for, or empty.

    Raises:
        GoneError, HostError, TmuxError: there is nothing to look at.
    """
    found = Examined(pane=pane, host=server.runner.host)
    found.look = server.look(pane.id)
    if found.look.dead:
        found.would, found.why = "gone", "the program in the pane has ended"
        return found
    found.group = processes.foreground(server.runner, pane.tty, pane.pid)
    _match(found, server, profiles, chosen)
    if found.profile is not None:
        if isinstance(server.runner, LocalRunner):
            found.version = version_of(found.process, found.profile.commands)
        _read_screen(found, found.look, found.profile)
        found.records = _records(found, server)
        if found.process is not None and isinstance(server.runner, LocalRunner):
            site = site_of(server, pane, found.look, found.process, found.group)
            found.channels = offered(found.profile.name, site)
    else:
        found.alike = _alike(found.look, profiles)
    return found


def _match(found: Examined, server: Server, profiles: Catalogue, chosen: str) -> None:
    """Who is there, as `identify` decides it; and what each profile says to that."""
    try:
        agent = target.identify(server, found.pane, profiles, chosen=chosen)
        found.profile, found.process = agent.profile, agent.process
        found.matched = "you named it" if chosen else _sign_of(agent.profile, agent.process)
    except BusWatchError as why:
        found.would = "deferred" if isinstance(why, ProfileError) else "refused"
        found.why = found.matched = str(why)
    found.others = profiles.why_not(found.group, found.profile.name if found.profile is not None else "")


def _sign_of(profile: Profile, process: Process | None) -> str:
    """By what the profile knows the process."""
    if process is None:
        return ""
    parts = [part for part in profile.scripts if process.script and part in process.script]
    if parts:
        return f"process {process.pid} runs a script in {max(parts, key=len)}"
    return f"process {process.pid} is called {min(profile.commands & process.names, default=process.name)}"


def _read_screen(found: Examined, look: Look, profile: Profile) -> None:
    if profile.composer is None:
        found.would = "submitted"
        found.why = f"{profile.name} looks at nothing: it would paste into a dialog, too, and Enter would answer it"
        return
    found.seen = screen.judge(look, profile, age=found.process.age if found.process is not None else 0.0)
    found.would, found.why = ("submitted" if found.seen.state in READY else "deferred"), found.seen.why
    if found.seen.busy and profile.typing.busy == "wait":
        found.would = "deferred"
    if look.input_off or look.synchronized:
        found.would = "refused"
        found.why = "the pane takes no input" if look.input_off else "the pane copies its keys to others"


def _records(found: Examined, server: Server) -> list[RecordFile]:
    """The record's files that are there, newest first; they can be read on this host only."""
    record, process = (found.profile.record if found.profile is not None else None), found.process
    if record is None or process is None or not isinstance(server.runner, LocalRunner):
        return []

    def directory() -> str:
        return server.call("display-message", "-p", "-t", found.pane.id, "#{pane_current_path}").rstrip("\n")

    files = []
    for path, size in Watch(record, surroundings(process.pid, directory), "").files():
        try:
            files.append(RecordFile(path, size, Path(path).stat().st_mtime))
        except OSError:
            continue
    return sorted(files, key=lambda one: -one.modified)


def _alike(look: Look, profiles: Catalogue) -> list[str]:
    """The profiles by which this screen would be an idle agent's: where to start a profile of one's own."""
    found = []
    for name in profiles:
        try:
            profile = profiles[name]
        except ProfileError:
            continue
        if profile.composer is not None and screen.judge(look, profile).state == "idle":
            found.append(name)
    return found


def drifted(version: str, measured: str) -> str:
    """A clause that says that another version runs than the profile was measured on; empty if it is the same."""
    if not version or not measured or version == measured:
        return ""
    return f"version {version} runs, the profile was measured on {measured}"
