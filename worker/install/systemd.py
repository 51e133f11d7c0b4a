"""systemd units. Directives: systemd.service(5), systemd.exec(5), systemd.kill(5); checked against systemd 252.

The user unit carries only what a manager without privileges can apply. The system unit comes in two profiles: `local`
drives tmux on this host, whose socket lies in the shared /tmp; `remote-only` reaches every agent over ssh or HTTP.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

UnitProfile = Literal["local", "remote-only"]

STOP_SECONDS = 20  # the consumer's -t at least; below TimeoutStopSec
LONGEST_STOP_SECONDS = 100  # and at most: user@.service gives all units of a user 120 s, and a restart waits as long
STOP_MARGIN_SECONDS = 5  # after a time-out: the killed transport is settled


def stop_seconds(timeouts: Iterable[float]) -> int:
    """How long a stopped worker waits for running transports: longer than the longest `timeout`, where that can be.

    A log-out and a reboot kill launcher and transports once the worker has stopped: what has not ended by then is
    started again.
    """
    longest = math.ceil(max(timeouts, default=0.0)) + STOP_MARGIN_SECONDS
    return min(max(STOP_SECONDS, longest), LONGEST_STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What a unit is made from. `writable`: folders of configuration, ledger, log. `credential`: a token file.

    `consumer` and `reload` are argvs; `stop_seconds` is what the consumer's -t says.
    """

    agents: str
    consumer: tuple[str, ...]
    config: Path
    writable: tuple[Path, ...]
    path_variable: str
    credential: str | None = None
    user: str | None = None
    profile: UnitProfile = "local"
    channels: tuple[Path, ...] = ()
    """Where `wake` notes what it hands to agents' channels, and listens for answers; one that is missing when the unit
    starts is left out."""
    reload: tuple[str, ...] = ()
    stop_seconds: int = STOP_SECONDS


def render(unit: Unit) -> str:
    """The unit's text; a system unit where it has a user."""
    system = unit.user is not None
    parts = [_HEAD.format(description=_specifiers(f"bus-watch: wakes {unit.agents}"))]
    if system:
        parts.append("Wants=network-online.target\nAfter=network-online.target\n")
    parts.append(_LIFE.format(stop=unit.stop_seconds, killed=unit.stop_seconds + 10))
    if unit.user is not None:
        parts.append(f"User={_specifiers(unit.user)}\n")
    parts.append(
        f"ExecStart={_command(unit.consumer)}\n"
        + (f"ExecReload={_command(unit.reload)}\n" if unit.reload else "")
        + f"WorkingDirectory={_specifiers(str(unit.config.parent))}\n"
        f"Environment={_assignment('BUS_WATCH_CONFIG', str(unit.config))}\n"
        f"Environment={_assignment('PATH', unit.path_variable)}\n"
    )
    parts.append(_credential(unit.credential))
    parts.append(_SUPERVISION)
    parts.append(_USER_LIMITS)
    if system:
        parts.append(_SYSTEM_LIMITS)
        folders = " ".join(_quoted(str(folder), dollar=False) for folder in unit.writable)
        parts.append(f"ReadWritePaths={folders}\n")
        parts.append(_LOCAL if unit.profile == "local" else _REMOTE_ONLY)
        if unit.profile == "local":
            parts += [f"ReadWritePaths={_quoted(f'-{one}', dollar=False)}\n" for one in unit.channels]
    parts.append(f"\n[Install]\nWantedBy={'multi-user.target' if system else 'default.target'}\n")
    return "".join(parts)


def render_bus(command: tuple[str, ...], folder: Path, user: str | None = None) -> str:
    """The embedded bus's own unit: it may end, and be started again, without any worker's doing."""
    parts = [_HEAD.format(description="bus-watch: the bus of this machine"), _BUS_LIFE]
    if user is not None:
        parts.append(f"User={_specifiers(user)}\n")
    parts += [f"ExecStart={_command(command)}\n", _BUS_LIMITS]
    if user is not None:
        parts += [
            _SYSTEM_LIMITS,
            f"ReadWritePaths={_quoted(str(folder), dollar=False)}\nPrivateUsers=yes\nPrivateTmp=yes\n",
        ]
    parts.append(f"\n[Install]\nWantedBy={'multi-user.target' if user is not None else 'default.target'}\n")
    return "".join(parts)


def _credential(path: str | None) -> str:
    if path is not None:
        return f"LoadCredential=token:{_specifiers(path)}\n"
    return (
        '# To keep the token out of the file system, set "token_file": "$CREDENTIALS_DIRECTORY/token" and use:\n'
        "#LoadCredential=token:/path/to/token\n"
    )


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _command(argv: tuple[str, ...]) -> str:
    """A command line; systemd fills variables in everywhere but in the path of the executable."""
    return " ".join([_quoted(argv[0], dollar=False), *(_quoted(argument) for argument in argv[1:])])


def _quoted(text: str, *, dollar: bool = True) -> str:
    """One word of a command line: never split, no specifier or variable filled in."""
    escaped = _specifiers(text).replace("\\", "\\\\").replace('"', '\\"')
    if dollar:
        escaped = escaped.replace("$", "$$")
    return f'"{escaped}"' if any(c in text for c in " \t\"'\\;") or not text else escaped


def _assignment(name: str, value: str) -> str:
    escaped = _specifiers(f"{name}={value}").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_HEAD = """\
# Written by `bus-watch install --systemd`; `bus-watch uninstall` takes it away.

[Unit]
Description={description}
"""

_LIFE = """\
# It is to run for months: keep starting it, however often it ends.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
Restart=always
RestartSec=5
# SIGTERM is graceful (-g TERM); the worker waits {stop} s (-t) for running transports: longer than the longest
# `timeout` of the configuration, or 100 s where that is longer. A log-out or reboot then leaves none half done.
KillSignal=SIGTERM
TimeoutStopSec={killed}
# Only the worker is ever killed: transports run under a launcher that outlives it and leaves their exit statuses
# in receipts. Under control-group and mixed a crash of the worker would kill both, and nobody would know what was done.
KillMode=process
OOMPolicy=continue
"""

_BUS_LIFE = """\
StartLimitIntervalSec=0

[Service]
Type=exec
Restart=always
RestartSec=2
"""

_BUS_LIMITS = """\
# Messages belong into no core file.
LimitCORE=0
UMask=0077
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
"""

_SUPERVISION = """\
# The worker feeds the watchdog only while it sweeps and attempts its polls; a dead bus is no dead worker.
WatchdogSec=60
# Messages and tokens belong into no core file.
LimitCORE=0
"""

_USER_LIMITS = """\
UMask=0077
# These hold for transports too: a wrapper that needs sudo needs a unit without the first two.
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
"""

_SYSTEM_LIMITS = """\

# What follows needs the system's manager.
CapabilityBoundingSet=
AmbientCapabilities=
PrivateDevices=yes
PrivateMounts=yes
ProtectSystem=strict
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
# Other users' processes are hidden; agents in tmux are this one's. The rest of /proc stays: the boot id lies there.
ProtectProc=invisible
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
KeyringMode=private
DevicePolicy=closed
# Programs and ssh keys in the home folder are read; only the folders below are written.
ProtectHome=read-only
"""

_LOCAL = """\

# Profile `local`: tmux is reached through its socket in the shared /tmp, and its panes' processes are looked at: with a
# user namespace of its own (PrivateUsers=yes) and ProtectProc=invisible the worker would not see its own user's.
PrivateUsers=no
PrivateTmp=no
ReadWritePaths=/tmp
"""

_REMOTE_ONLY = """\

# Profile `remote-only`: nothing on this host is driven, so /tmp is its own, and no memory is both written and executed
# (a transport that compiles at run time, node for instance, needs `local`).
PrivateUsers=yes
PrivateTmp=yes
RemoveIPC=yes
MemoryDenyWriteExecute=yes
"""
