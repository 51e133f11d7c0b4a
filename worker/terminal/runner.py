"""Running small commands on the pane's host: this one, or another over one ssh connection.

The state machine in `submit` knows only `Runner`. Locally each command is a process started from an argv.
Remotely one `ssh` runs one `sh`, which reads command lines from its standard input and answers on its
standard output: nothing is installed there, message text crosses only as data on standard input, one
connection serves the whole exchange, and when it breaks that `sh`, whose pid the pane's lock names, is gone.
"""

import math
import os
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.errors import BusWatchError, UsageError

# launchd and bare ssh sessions have a PATH without the places where Homebrew and others put tmux.
EXTRA_PATH = "/usr/local/bin:/opt/homebrew/bin:/opt/local/bin:/usr/bin:/bin"

_DESTINATION = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])")
# The far shell runs only lines that start with the connection's secret word and ends at the first that does
# not: if ever something read too little of a message's text, the rest of it could not become a command.
_LOOP = (
    "exec /bin/sh -c "
    """'while IFS= read -r l; do case $l in "%s "*) eval "${l#* }";; *) exit 9;; esac; done'"""
)
_MAX_REPLY = 4 * 1024 * 1024


class HostError(BusWatchError):
    """The pane's host cannot be reached, or the connection broke."""

    code = "host"
    exit_status = 69


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: its exit status and its output, standard error included."""

    status: int
    output: bytes

    @property
    def text(self) -> str:
        """The output as text; undecodable bytes become U+FFFD."""
        return self.output.decode("utf-8", "replace")


class Runner(Protocol):
    """Runs commands on one host."""

    host: str
    """What to call the host in a message; empty for this one."""
    deadline: float
    """On the monotonic clock; commands get no more time than until then, and half a second to end things after it."""

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 5.0) -> Result:
        """Run `argv` with `stdin` as its standard input; `timeout` in seconds.

        Raises:
            HostError: it did not end in time, or the host is out of reach.
        """

    def close(self) -> None:
        """End the connection; the pane's lock, if it is ours, is free then."""


def _within(timeout: float, deadline: float) -> float:
    return max(0.5, min(timeout, deadline - time.monotonic()))


class LocalRunner:
    """This host."""

    host = ""
    deadline = math.inf

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        path = self._environment.get("PATH", "")
        self._environment["PATH"] = f"{path}:{EXTRA_PATH}" if path else EXTRA_PATH
        self._programs: dict[str, str] = {}

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 5.0) -> Result:
        """See `Runner.run`."""
        timeout = _within(timeout, self.deadline)
        program = self._programs.get(argv[0]) or shutil.which(argv[0], path=self._environment["PATH"])
        if program is None:
            return Result(127, f"{argv[0]}: not found in {self._environment['PATH']}".encode())
        self._programs[argv[0]] = program
        try:
            done = subprocess.run(
                [program, *argv[1:]],
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"`{argv[0]}` did not answer within {timeout:.1f} s") from None
        return Result(done.returncode, done.stdout)

    def close(self) -> None:
        """Nothing to end."""


def check_destination(destination: str) -> str:
    """`destination` if it is a plain `host` or `user@host`.

    Raises:
        UsageError: it could be an option of ssh, or holds anything but letters, digits and `. _ - @`.
    """
    if len(destination) > 255 or not _DESTINATION.fullmatch(destination):
        raise UsageError(f"-H {destination!r}: give a host as host, user@host or a name from your ssh config")
    return destination


def ssh_argv(destination: str, secret: str, config: str = "", connect_timeout: float = 5.0) -> list[str]:
    """The ssh command line; it asks nothing, forwards nothing and becomes nobody's background master.

    `secret` is the word that each command line must start with. Options follow OpenSSH 9's ssh_config(5). A
    control master of the user's own is used if one runs.
    """
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(max(1, int(connect_timeout))),
        "ConnectionAttempts": "1",
        "ServerAliveInterval": "3",
        "ServerAliveCountMax": "2",
        "ControlMaster": "no",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "RequestTTY": "no",
        "LogLevel": "ERROR",
    }
    argv = ["ssh", *(["-F", config] if config else [])]
    for key, value in options.items():
        argv += ["-o", f"{key}={value}"]
    return [*argv, "--", check_destination(destination), _LOOP % secret]


class SshRunner:
    """Another host, over one ssh connection that lives as long as this object."""

    deadline = math.inf

    def __init__(self, destination: str, *, config: str = "", timeout: float = 10.0) -> None:
        """Connect.

        Args:
            destination: `host` or `user@host`.
            config: an ssh configuration file instead of the user's, as `ssh -F`.
            timeout: seconds until the far shell must have answered.

        Raises:
            UsageError: the destination is not a plain one.
            HostError: ssh failed; its own words are in the message.
        """
        self.host = check_destination(destination)
        self._buffer = bytearray()
        self._secret = os.urandom(16).hex()
        argv = ssh_argv(destination, self._secret, config, timeout)
        try:
            self._ssh = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as why:
            raise HostError(f"cannot start ssh: {why.strerror}") from None
        for pipe in (self._ssh.stdin, self._ssh.stdout, self._ssh.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        try:
            setup = f"{self._secret} PATH=$PATH:{EXTRA_PATH}; export PATH\n"
            self._say(setup.encode(), time.monotonic() + timeout)
            self.run([":"], timeout=timeout)
        except HostError:
            self.close()
            raise

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 5.0) -> Result:
        """See `Runner.run`. A late or broken answer ends the connection."""
        deadline = time.monotonic() + _within(timeout, self.deadline)
        mark = os.urandom(8).hex()
        command = shlex.join(argv)
        if "\n" in command:
            raise UsageError("a command for the remote shell holds a line feed")
        if stdin:
            # `dd bs=1` takes exactly the command's bytes; `cat` takes what a failed command left.
            feed = f"dd bs=1 count={len(stdin)} 2>/dev/null"
            command = f"{feed} | ({command} 2>&1; r=$?; cat >/dev/null; exit $r)"
        else:
            command = f"{command} 2>&1 </dev/null"
        line = f"{self._secret} echo {mark}; {command}; r=$?; echo; echo {mark} $r\n"
        try:
            self._say(line.encode() + stdin, deadline)
            return self._answer(mark.encode(), deadline)
        except HostError:
            self.close()
            raise

    def close(self) -> None:
        """End ssh, and with it the far shell."""
        if self._ssh.stdin is not None:
            self._ssh.stdin.close()
        try:
            self._ssh.wait(0.3)
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

    def _say(self, data: bytes, deadline: float) -> None:
        pipe = self._ssh.stdin
        if pipe is None or pipe.closed:
            raise HostError(f"the connection to {self.host} has ended")
        view = memoryview(data)
        while view:
            if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                raise HostError(f"{self.host} does not take our commands; it did not answer in time")
            try:
                view = view[os.write(pipe.fileno(), view) :]
            except OSError:
                raise HostError(f"the connection to {self.host} broke: {self._complaint()}") from None

    def _answer(self, mark: bytes, deadline: float) -> Result:
        """What stands between the two lines with the mark; what a login script printed is not ours."""
        pipe = self._ssh.stdout
        if pipe is None:
            raise HostError(f"the connection to {self.host} has ended")
        opening, closing = mark + b"\n", b"\n" + mark + b" "
        while True:
            begin = self._buffer.find(opening)
            end = self._buffer.find(closing, begin + len(mark)) if begin >= 0 else -1
            stop = self._buffer.find(b"\n", end + len(closing)) if end >= 0 else -1
            if stop >= 0:
                status = bytes(self._buffer[end + len(closing) : stop])
                output = bytes(self._buffer[begin + len(opening) : max(end, begin + len(opening))])
                del self._buffer[: stop + 1]
                return Result(int(status) if status.isdigit() else 255, output)
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise HostError(f"{self.host} did not answer in time")
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk or len(self._buffer) > _MAX_REPLY:
                raise HostError(f"the connection to {self.host} broke: {self._complaint()}")
            self._buffer += chunk

    def _complaint(self) -> str:
        """The end of what ssh said on its standard error; it names hosts and keys, never a message's text."""
        pipe = self._ssh.stderr
        said = b""
        if pipe is not None and select.select([pipe], [], [], 0.5)[0]:
            said = os.read(pipe.fileno(), 65536)
        return " ".join(said.decode("utf-8", "replace").split())[-300:] or "ssh said nothing"
