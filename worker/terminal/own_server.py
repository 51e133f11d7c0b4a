"""An agent's terminal UI with a server of its own beside it, which ends when the UI does.

Facts are codex-cli 0.171.0's: `codex app-server --listen unix://PATH` serves, `codex --remote unix://PATH` shows it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from worker.errors import BusWatchError
from worker.terminal.channels import owned

_STARTS = 20.0  # seconds for the server to listen; it takes 1
_ENDS = 5.0


class ServerError(BusWatchError):
    """The agent, or its server, does not start."""

    code = "server"
    exit_status = 69


def run_codex(program: str, arguments: Sequence[str]) -> int:
    """Run codex in this terminal until it ends; its exit status, 128 and the signal's number if one ended it.

    Raises:
        ServerError: there is no such program, or its server does not listen.
    """
    path = shutil.which(program)
    if path is None:
        raise ServerError(f"there is no program {program}: name it with --program")
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="bus-watch-codex-") as folder:
        socket = f"{folder}/s"
        with _server([path, "app-server", "--listen", f"unix://{socket}"], socket, folder):
            done = subprocess.run([path, "--remote", f"unix://{socket}", *arguments], check=False)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


@contextlib.contextmanager
def _server(argv: list[str], socket: str, folder: str) -> Iterator[None]:
    """A server that listens, in a session of its own: keys in this terminal are not for it."""
    with open(f"{folder}/output", "wb+") as output:  # noqa: PTH123 - no pathlib here
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            end = time.monotonic() + _STARTS
            while not owned.there(socket):
                if process.poll() is not None or time.monotonic() > end:
                    output.seek(0)
                    said = output.read()[-300:].decode(errors="replace").strip()
                    raise ServerError(f"its server does not listen: {said or 'it says nothing'}")
                time.sleep(0.05)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_ENDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A pane that is closed, or a `kill`, ends the server too; Ctrl-C is the agent's own key."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {one: signal.signal(one, end) for one in (signal.SIGHUP, signal.SIGTERM)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
