"""The configuration that `install` writes: the old watcher's format, with as little in it as its owner needs to say."""

import contextlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.errors import BusWatchError, UsageError
from worker.install.installation import script

if TYPE_CHECKING:
    from worker.terminal.tmux import Server

STARTER = {"name": "echo", "command": ["/bin/echo", "{text}"]}
"""The old watcher's first transport: it proves that messages come, and wakes nobody."""

PASSING_ID = re.compile(r"(^|[:.])[%@$]\d+(?!\d|:$)")
"""In a tmux target: an id (%3, @2, $1), which the next tmux server gives out anew, perhaps to another agent's pane.

`%3:` is the name of a session, see `worker.terminal.places`."""

BRIDGE_URL = "http://localhost:6380"
CREDENTIAL = "token"  # its name under $CREDENTIALS_DIRECTORY


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOptions:
    """What the command line said about the configuration. `token_file` is as it shall be written."""

    agent: str
    config: Path
    token_file: str | None = None
    token_env: str | None = None
    project: str | None = None
    bridge_url: str | None = None
    bus_kind: str | None = None
    start_from: str | None = None
    tmux: str | None = None
    transports: tuple[str, ...] = ()


def compose(wishes: InstallOptions, environment: Mapping[str, str]) -> dict[str, Any]:
    """The content of the configuration file.

    Raises UsageError for a transport that makes no sense; all else is the settings' to judge.
    """
    transports = transports_of(wishes, environment) or [dict(STARTER)]
    data: dict[str, Any] = {"agent": wishes.agent}
    if wishes.token_file is not None:
        data["token_file"] = wishes.token_file
    if wishes.token_env is not None:
        data["token_env"] = wishes.token_env
    if wishes.project is not None:
        data["project"] = wishes.project
    data["bridge_url"] = wishes.bridge_url or BRIDGE_URL
    if wishes.bus_kind is not None:
        data["bus_kind"] = wishes.bus_kind
    data |= {"limit": 10, "poll_interval": 3}
    beside = wishes.config.with_name(f"{wishes.config.stem}-state.json")
    data["state_path"] = str(beside)
    if wishes.start_from is not None:
        data["start_from"] = wishes.start_from
    data["allowlist"] = list(dict.fromkeys(executable(transport) for transport in transports))
    data["transports"] = transports
    return data


def transports_of(wishes: InstallOptions, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What shall wake the agent, as the command line said; UsageError for what makes no sense."""
    tmux = [] if wishes.tmux is None else [_tmux(wishes.tmux, environment)]
    return tmux + [_given(transport) for transport in wishes.transports]


def executable(transport: Mapping[str, Any]) -> str:
    """What the allowlist must name for this transport."""
    return _plain(transport["command"][0])


def as_text(data: Mapping[str, Any]) -> str:
    """The configuration as it is written: for people to read and edit."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def literal(argument: str) -> str:
    """An argument of a command in which braces are braces."""
    return argument.replace("{", "{{").replace("}", "}}")


def _plain(argument: str) -> str:
    return argument.replace("{{", "{").replace("}}", "}")


def _tmux(session: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The built-in `wake`, which says whether the agent really got its prompt: what it cannot prove is held."""
    socket = _socket(environment)
    command = [str(script("wake")), "-t", _lasting(session, socket)]
    if socket is not None:
        command += ["--socket-path", socket]
    return {
        "name": "tmux",
        "command": [literal(a) for a in command],
        "stdin": True,
        "on_unknown": "hold",
        "reply_hint": True,
    }


def _lasting(target: str, socket: str | None) -> str:
    """A target by names, as tmux has them."""
    from worker.terminal import places  # noqa: PLC0415 - only --tmux pays for it
    from worker.terminal.runner import LocalRunner  # noqa: PLC0415
    from worker.terminal.tmux import Server  # noqa: PLC0415

    server = Server(LocalRunner(), socket_path=socket or "")
    panes = server.panes_if_any()
    session = target.partition(":")[0]
    if why := places.ambiguous(panes, target):
        raise UsageError(f"--tmux {why}")
    if any(one.session == session for one in panes):
        return f"{target}:" if PASSING_ID.fullmatch(target) else target
    if PASSING_ID.search(target):
        return _session_of(server, target)
    if (name := places.renamed(panes, target)) or "." in session:
        made = name or session.replace(".", "_")
        raise UsageError(
            f"--tmux {target}: tmux changes some characters in names, that session is called {made!r} there"
        )
    return target


def _session_of(server: "Server", target: str) -> str:
    """The name of the session in which an id is now."""
    with contextlib.suppress(BusWatchError):  # for an id that nobody has tmux prints nothing, or fails
        if name := server.call("display-message", "-p", "-t", target, "#{session_name}").strip():
            return name
    raise UsageError(
        f"--tmux {target}: tmux gives ids anew when it restarts, perhaps to another agent's pane; "
        "give the session's name: tmux list-sessions"
    )


def _socket(environment: Mapping[str, str]) -> str | None:
    """The tmux server of whoever installs, where it is not the usual one: a service has neither of these variables."""
    usual = f"/tmp/tmux-{os.getuid()}/default"  # noqa: S108 - where tmux itself puts it (tmux(1), TMUX_TMPDIR)
    socket = environment.get("TMUX", "").rpartition(",")[0].rpartition(",")[0]
    if not socket and environment.get("TMUX_TMPDIR"):
        socket = f"{environment['TMUX_TMPDIR']}/tmux-{os.getuid()}/default"
    return socket if socket and os.path.realpath(socket) != os.path.realpath(usual) else None


def _given(text: str) -> dict[str, Any]:
    """A transport from `NAME=ARGV...`, its argv split as a shell would split it (and never given to one)."""
    name, separator, rest = text.partition("=")
    try:
        command = shlex.split(rest)
    except ValueError as error:
        raise UsageError(f"--transport {name!r}: {error} in {rest!r}") from None
    if not separator or not name or not command:
        raise UsageError(
            f"--transport {text!r}: write NAME=/ABSOLUTE/PATH ARGUMENT..., for instance 'log=/bin/echo {{text}}'"
        )
    if command[0].startswith("~/"):
        command[0] = str(Path(command[0]).expanduser())
    if not command[0].startswith("/"):
        found = shutil.which(command[0])
        hint = f"; did you mean {found}?" if found else ""
        raise UsageError(f"--transport {name!r}: {command[0]!r} is not an absolute path{hint}")
    return {"name": name, "command": command}
