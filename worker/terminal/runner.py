"""Running small commands on the pane's host: this one, or another over one ssh connection.

The state machine in `submit` knows only `Runner`. Locally each command is a process started from an argv.
Remotely one `ssh` runs one `sh`, which reads command lines from its standard input and answers on its
standard output: nothing is installed there, message text crosses only as data on standard input, one
connection serves the whole exchange, and when it breaks that `sh`, whose pid the pane's lock names, is gone.
"""

import math
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from worker.errors import UsageError
from worker.terminal.ssh import EXTRA_PATH, HostError, check_destination, connected, ssh_argv

__all__ = ["HostError", "LocalRunner", "Result", "Runner", "SshRunner", "check_destination", "ssh_argv"]


class Result(Struct, frozen=True):
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

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 5.0) -> Result:
        """See `Runner.run`."""
        timeout = _within(timeout, self.deadline)
        try:
            done = subprocess.run(
                argv,  # looked for in the PATH of `env`
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"`{argv[0]}` did not answer within {timeout:.1f} s") from None
        except OSError as why:
            searched = "" if "/" in argv[0] else f" in {self._environment['PATH']}"
            return Result(127, f"{why.strerror}{searched}: {argv[0]}".encode())
        return Result(done.returncode, done.stdout)

    def close(self) -> None:
        """Nothing to end."""


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
        self._secret = os.urandom(16).hex()
        self._line = connected(destination, self._secret, config, timeout)

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
            self._line.say(line.encode() + stdin, deadline)
            return self._answer(mark.encode(), deadline)
        except HostError:
            self.close()
            raise

    def close(self) -> None:
        """End ssh, and with it the far shell."""
        self._line.close()

    def _answer(self, mark: bytes, deadline: float) -> Result:
        """What stands between the two lines with the mark; what a login script printed is not ours."""
        opening, closing = mark + b"\n", b"\n" + mark + b" "
        said = self._line.buffer
        while True:
            begin = said.find(opening)
            end = said.find(closing, begin + len(mark)) if begin >= 0 else -1
            stop = said.find(b"\n", end + len(closing)) if end >= 0 else -1
            if stop >= 0:
                status = bytes(said[end + len(closing) : stop])
                output = bytes(said[begin + len(opening) : max(end, begin + len(opening))])
                del said[: stop + 1]
                return Result(int(status) if status.isdigit() else 255, output)
            self._line.hear(deadline)
