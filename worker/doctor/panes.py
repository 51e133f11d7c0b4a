"""The checks of `doctor` on the panes that transports name: who runs there, and with --probe whether it is understood.

Nothing is typed, no mode is left, and what a screen says is not repeated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from worker.doctor.finding import Finding
from worker.errors import BusWatchError
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.terminal.catalogue import Catalogue
from worker.terminal.looking import Examined, drifted, examine
from worker.terminal.places import Pane
from worker.terminal.runner import LocalRunner
from worker.terminal.target import resolve
from worker.terminal.tmux import GoneError, Server

SENDERS = {"send-message": "-t", "send-message.sh": "-t", "wake": "-t", "agent-send": "-s", "agent-send.sh": "-s"}
"""Our own commands as transports, and the option that names the pane."""
EXPLAINED = frozenset({"idle", "busy", "draft", "dialog"})


@dataclass(frozen=True, slots=True)
class NamedPane:
    """The pane of this host that a transport's command names."""

    target: str
    agent: str
    """The profile that the command names, or empty."""
    tmux: str
    socket_name: str
    socket_path: str

    @classmethod
    def of(cls, command: Sequence[str], target: str) -> Self:
        """What the options of a command of ours say beside its target."""
        return cls(
            target=target,
            agent=_value(command, "--agent"),
            tmux=_value(command, "--tmux") or "tmux",
            socket_name=_value(command, "-L", "--socket-name"),
            socket_path=_value(command, "--socket-path"),
        )

    def examine(self, profiles: Catalogue) -> Examined:
        """Look at it, and type nothing.

        Raises:
            BusWatchError: there is nothing to look at, or not surely one pane; GoneError where nobody is there.
        """
        server = Server(LocalRunner(), program=self.tmux, socket_name=self.socket_name, socket_path=self.socket_path)
        try:
            return examine(server, resolve(server, self.target, profiles), profiles, self.agent)
        finally:
            server.runner.close()


def named_pane(command: Sequence[str]) -> NamedPane | None:
    """The pane that a command of ours sends to; None: no such command, another host, or each message names its own."""
    option = SENDERS.get(Path(command[0]).name)
    target = _value(command, option, "--target" if option == "-t" else "--session") if option is not None else ""
    if not target or "{" in target or {"-H", "--host"} & set(command):
        return None
    return NamedPane.of(command, target)


def check(settings: Settings, environment: Mapping[str, str], *, probe: bool) -> Iterator[Finding]:
    """One finding for each pane of this host that a transport of ours names and that is there.

    Args:
        settings: the transports.
        environment: where the user's own profiles lie.
        probe: whether the screens are judged as well.
    """
    profiles = Catalogue.of(environment)
    for agent in settings.agents:
        for transport in agent.transports:
            yield from _transport(agent, transport, profiles, probe=probe)


def _transport(
    agent: AgentSettings, transport: TransportSettings, profiles: Catalogue, *, probe: bool
) -> Iterator[Finding]:
    named = named_pane(transport.command)
    if named is None:
        return
    name = f"pane of {transport.name}"
    try:
        found = named.examine(profiles)
    except GoneError:
        if probe:
            yield Finding("note", name, f"there is no {named.target!r} now: nothing to look at", agent.agent)
        return
    except BusWatchError as why:
        yield Finding("note", name, _plain(str(why)), agent.agent)
        return
    yield from _of_pane(name, agent.agent, found, probe=probe)


def _of_pane(name: str, agent: str, found: Examined, *, probe: bool) -> Iterator[Finding]:
    where = _where(found.pane)
    profile = found.profile
    if profile is None:
        yield Finding("FAIL" if probe else "note", name, f"{where}: {_plain(found.why)}", agent)
        return
    runs = f"{where} runs {profile.name} {found.version or '(its version cannot be told)'}"
    changed = drifted(found.version, found.measured)
    if not probe or found.seen is None:
        yield Finding("note" if changed else "ok", name, f"{runs}{f'; {changed}' if changed else ''}", agent)
        return
    measured = f"; {changed}" if changed else ""
    if found.state in EXPLAINED:
        yield Finding("note" if changed else "ok", name, f"{runs}: {found.state}{measured}", agent)
        return
    why = f"no state that its profile explains: {_plain(found.why)}{measured}"
    yield Finding("FAIL", name, f"{runs}: {why}; send-message --look -t {found.pane.id} says more", agent)


def _where(pane: Pane) -> str:
    return f"{pane.id} ({_plain(pane.session)}:{pane.window}.{pane.index})"


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)


def _value(command: Sequence[str], *options: str) -> str:
    """What an option says, in one word or in two; empty: it is not there."""
    for word, behind in zip(command, [*command[1:], ""], strict=True):
        for option in options:
            if word == option:
                return behind
            if option.startswith("--") and word.startswith(f"{option}="):
                return word.partition("=")[2]
    return ""
