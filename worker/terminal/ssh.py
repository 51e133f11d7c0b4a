"""One ssh to another host: its command line, and getting through whatever the user's ssh configuration says.

People's configurations are made for their own logins: they share connections, allocate terminals, start programs. None
of it may matter here, and a shared connection whose master has stopped answering costs a second.
"""

import os
import re
import select
import subprocess
import time

from worker.errors import BusWatchError, UsageError

# launchd and bare ssh sessions have a PATH without the places where Homebrew and others put tmux.
EXTRA_PATH = "/usr/local/bin:/opt/homebrew/bin:/opt/local/bin:/usr/bin:/bin"

_DESTINATION = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[([0-9A-Fa-f:.]+)\])")
# The far shell runs only lines that start with the connection's secret word and ends at the first that does
# not: if ever something read too little of a message's text, the rest of it could not become a command.
_LOOP = (
    "exec /bin/sh -c "
    """'while IFS= read -r l; do case $l in "%s "*) eval "${l#* }";; *) exit 9;; esac; done'"""
)
_MAX_REPLY = 4 * 1024 * 1024
_WEDGED = 1.0  # seconds of silence after which a shared connection is done without
_OLD = "Bad configuration option"  # an ssh older than one of _SINCE_8_7 says so and ends

# What the user's configuration may say of its own logins, and must not say of ours; ssh_config(5) of OpenSSH 9.
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectionAttempts": "1",
    "ServerAliveInterval": "3",
    "ServerAliveCountMax": "2",
    "ControlMaster": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "Tunnel": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}
_SINCE_8_7 = {"SessionType": "default", "StdinNull": "no", "ForkAfterAuthentication": "no"}


class HostError(BusWatchError):
    """The pane's host cannot be reached, or the connection broke."""

    code = "host"
    exit_status = 69


def check_destination(destination: str) -> str:
    """`destination` if it is a plain `host` or `user@host`.

    Raises:
        UsageError: it could be an option of ssh, or holds anything but letters, digits and `. _ - @`.
    """
    if len(destination) > 255 or not _DESTINATION.fullmatch(destination):
        raise UsageError(
            f"-H {destination!r}: give a host as host, user@host, [IPv6 address] or a name from your ssh config, "
            "which is also the place for a port"
        )
    return destination


def ssh_argv(
    destination: str,
    secret: str,
    config: str = "",
    connect_timeout: float = 5.0,
    *,
    shared: bool = True,
    old: bool = False,
) -> list[str]:
    """The ssh command line; it asks nothing, forwards nothing and becomes nobody's background master.

    Args:
        destination: see `check_destination`.
        secret: the word that each command line must start with.
        config: an ssh configuration file instead of the user's.
        connect_timeout: seconds.
        shared: whether a control master of the user's own is used if one runs.
        old: for an ssh that does not know the options of OpenSSH 8.7.
    """
    return [*_common(destination, config, connect_timeout, shared=shared, old=old), _LOOP % secret]


def _common(destination: str, config: str, connect_timeout: float, *, shared: bool, old: bool) -> list[str]:
    check_destination(destination)
    options = _OPTIONS | ({} if old else _SINCE_8_7) | {"ConnectTimeout": str(max(1, int(connect_timeout)))}
    if not shared:
        options["ControlPath"] = "none"
    match = _DESTINATION.fullmatch(destination)
    if match is not None and match[1]:
        options["HostName"] = match[1]  # ssh itself does not take the brackets off
    argv = ["ssh", *(["-F", config] if config else [])]
    for key, value in options.items():
        argv += ["-o", f"{key}={value}"]
    return [*argv, "--", destination]


class Line:
    """One running ssh: what is said to the far shell, and what it says."""

    def __init__(self, host: str, argv: list[str]) -> None:
        """Start it."""
        self._host = host
        self.buffer = bytearray()
        try:
            self._ssh = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as why:
            raise HostError(f"cannot start ssh: {why.strerror}") from None
        for pipe in (self._ssh.stdin, self._ssh.stdout, self._ssh.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)

    def fileno(self) -> int:
        """Where the far shell is heard; for `select`."""
        return self._ssh.stdout.fileno() if self._ssh.stdout is not None else -1

    def say(self, data: bytes, deadline: float) -> None:
        """Write all of it.

        Raises:
            HostError: it is not taken in time, or the connection broke.
        """
        pipe = self._ssh.stdin
        if pipe is None or pipe.closed:
            raise HostError(f"the connection to {self._host} has ended")
        view = memoryview(data)
        while view:
            if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                raise HostError(f"{self._host} does not take our commands; it did not answer in time")
            try:
                view = view[os.write(pipe.fileno(), view) :]
            except OSError:
                raise HostError(f"the connection to {self._host} broke: {self._complaint()}") from None

    def hear(self, deadline: float) -> None:
        """Add to `buffer` what comes.

        Raises:
            HostError: nothing comes in time, too much does, or the connection broke.
        """
        if not select.select([self], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise HostError(f"{self._host} did not answer in time")
        chunk = os.read(self.fileno(), 65536)
        if not chunk or len(self.buffer) > _MAX_REPLY:
            raise HostError(f"the connection to {self._host} broke: {self._complaint()}")
        self.buffer += chunk

    def close(self, patience: float = 0.3) -> None:
        """End ssh, which has so many seconds to end by itself, and with it the far shell."""
        if self._ssh.stdin is not None:
            self._ssh.stdin.close()
        try:
            self._ssh.wait(patience)
        except subprocess.TimeoutExpired:
            self._ssh.terminate()
            try:
                self._ssh.wait(1)
            except subprocess.TimeoutExpired:
                self._ssh.kill()
                self._ssh.wait()
        for pipe in (self._ssh.stdout, self._ssh.stderr):
            if pipe is not None:
                pipe.close()

    def _complaint(self) -> str:
        """The end of what ssh said on its standard error; it names hosts and keys, never a message's text."""
        pipe = self._ssh.stderr
        said = b""
        if pipe is not None and select.select([pipe], [], [], 0.5)[0]:
            said = os.read(pipe.fileno(), 65536)
        return " ".join(said.decode("utf-8", "replace").split())[-300:] or "ssh said nothing"


def connected(destination: str, secret: str, config: str, timeout: float) -> Line:
    """A line whose far shell has answered, within `timeout` seconds.

    Where it is silent for a second and the configuration shares connections, another ssh is tried beside it that shares
    none: the first of them that answers is taken. (A shared one may be the only one that gets in, and only be slow.)

    Raises:
        HostError: see `Line`.
    """
    return _Opening(destination, secret, config, timeout).line()


class _Opening:
    """The tries to reach one host."""

    def __init__(self, destination: str, secret: str, config: str, timeout: float) -> None:
        self._where = (destination, secret, config, timeout)
        self._deadline = time.monotonic() + timeout
        self._hedge = time.monotonic() + min(_WEDGED, timeout / 2)
        self._lines: list[Line] = []
        self._old = False
        word = os.urandom(8).hex()
        self._mark = f"\n{word}\n".encode()  # what a login script prints is not ours
        self._setup = f"{secret} PATH=$PATH:{EXTRA_PATH}; export PATH; echo; echo {word}\n".encode()

    def line(self) -> Line:
        """The first that answers."""
        chosen: Line | None = None
        try:
            self._start()
            while (chosen := self._answered()) is None:
                now = time.monotonic()
                if now >= self._deadline:
                    raise HostError(f"{self._where[0]} did not answer in time")
                if now >= self._hedge:
                    self._hedge = self._deadline
                    if _shares(self._where, old=self._old):
                        self._start(shared=False)
        finally:
            for one in self._lines:
                if one is not chosen:
                    one.close(0.0)
        return chosen

    def _start(self, *, shared: bool = True) -> None:
        destination, secret, config, timeout = self._where
        line = Line(destination, ssh_argv(destination, secret, config, timeout, shared=shared, old=self._old))
        self._lines.append(line)
        try:
            line.say(self._setup, self._deadline)
        except HostError as why:
            self._failed(line, why)

    def _answered(self) -> Line | None:
        """The line that has answered, if one has; waits until something happens, or for the hedge or the deadline."""
        until = min(self._hedge, self._deadline)
        for line in select.select(self._lines, [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                line.hear(self._deadline)
            except HostError as why:
                self._failed(line, why)
                continue
            if self._mark in line.buffer:
                del line.buffer[: line.buffer.index(self._mark) + len(self._mark)]
                return line
        return None

    def _failed(self, line: Line, why: HostError) -> None:
        """One of them has ended. Raises `why` if it was the last."""
        self._lines.remove(line)
        line.close()
        if not self._old and _OLD in str(why):
            self._old = True
            self._start()
        elif not self._lines:
            raise why


def _shares(where: tuple[str, str, str, float], *, old: bool) -> bool:
    """Whether the configuration names a socket for shared connections; asks nobody but ssh itself."""
    destination, _, config, timeout = where
    argv = _common(destination, config, timeout, shared=True, old=old)
    try:
        asked = subprocess.run(
            [argv[0], "-G", *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    words = [line.split(None, 1) for line in asked.stdout.decode("utf-8", "replace").splitlines()]
    return any(len(one) == 2 and one[0] == "controlpath" and one[1] != "none" for one in words)
