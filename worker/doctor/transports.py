"""The checks of `doctor` on transports: whether each agent can be woken, and by nothing that a message chooses."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.doctor import targets, ways
from worker.doctor.finding import Finding
from worker.doctor.interpreters import danger
from worker.doctor.options import may_be_option
from worker.errors import BusWatchError, ConfigError
from worker.install.config_file import STARTER
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.terminal.catalogue import Catalogue
from worker.terminal.profiles import Profile, ProfileError
from worker.transports.command import check_command

SENDERS = frozenset({"wake", "send-message", "send-message.sh", "agent-send", "agent-send.sh"})


def check(settings: Settings) -> Iterator[Finding]:
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
        yield from _seen_by_all(name, agent, transport)
        return
    if (reason := may_be_option(transport.templates)) is not None:
        yield Finding("note", name, reason, agent.agent)
    yield from _submitter(name, agent, transport) or [Finding("ok", name, transport.command[0], agent.agent)]
    yield from _seen_by_all(name, agent, transport)


def _seen_by_all(name: str, agent: AgentSettings, transport: TransportSettings) -> Iterator[Finding]:
    """A command's arguments are no secret on its host; its environment and its standard input are."""
    if any("text" in argument.fields for argument in transport.templates):
        text = 'every user of this machine sees {text} in ps while it runs; "stdin": true or {message_file} hides it'
        yield Finding("note", name, text, agent.agent)


def _submitter(name: str, agent: AgentSettings, transport: TransportSettings) -> list[Finding]:
    """What the built-in submitter needs on this host: tmux, and the session some time."""
    whole = list(transport.command)
    first = next((number for number, word in enumerate(whole) if Path(word).name in SENDERS), len(whole))
    command = whole[first:]  # timeout, env and the like may stand before it
    if command and (why := _blind(command, transport)) and not _says(command, "--accept", "unproven"):
        text = f"{why}, and as nothing is proven each retry types again; write a profile (bus-watch profile new), or "
        return [Finding("FAIL", name, text + "add --accept unproven", agent.agent)]
    if first or any(word in {"-H", "--host"} for word in command):
        return []
    found = [Finding(level, name, text, agent.agent) for level, text in targets.check(command)]
    wakes = Path(command[0]).name == "wake" and "-t" in command[:-1]
    return found or (_way(name, agent, command) if wakes else [])


def _blind(command: Sequence[str], transport: TransportSettings) -> str:
    """Why the command types without looking; empty: it looks."""
    if any(len(word) > len("--al") and "--allow-shell".startswith(word) for word in command):
        return "--allow-shell types into a shell, which runs what a message says"
    environment = {"HOME": os.environ.get("HOME", ""), **transport.env}
    for name, profile in _profiles(Catalogue.of(environment)):
        if profile.composer is None and _says(command, "--agent", name):
            return f"--agent {name} looks at nothing: it pastes into dialogs and answers them"
    return ""


def _profiles(catalogue: Catalogue) -> Iterator[tuple[str, Profile]]:
    """All that can be used; `doctor` names the others by themselves."""
    for name in catalogue:
        with contextlib.suppress(ProfileError):
            yield name, catalogue[name]


def _way(name: str, agent: AgentSettings, command: Sequence[str]) -> list[Finding]:
    """Which way a message would go now, and why no better one."""
    found = ways.of_command(agent.agent, name, command)
    who = f"{found.ui or 'nobody known'} in {found.pane}"
    if not found.pane:
        return [Finding("note", name, found.why_not[0], agent.agent)]
    if found.by:
        how = "typed" if found.by == "type" else f"by the channel {found.by}"
        why_not = f" (not by {'; not by '.join(found.why_not)})" if any(":" in one for one in found.why_not) else ""
        return [Finding("ok", name, f"{who}: {how}{why_not}", agent.agent)]
    reasons = "; ".join(found.why_not) or "it has none"
    return [Finding("note", name, f"{who}: no channel takes it: {reasons}", agent.agent)]


def _says(command: Sequence[str], option: str, value: str) -> bool:
    """Whether the command has the option with that value, in one word or in two; `--ag` is `--agent` to argparse."""
    for word, behind in zip(command, [*command[1:], ""], strict=True):
        name, glued, own = word.partition("=")
        if len(name) > len("--a") and option.startswith(name) and (own if glued else behind) == value:
            return True
    return False
