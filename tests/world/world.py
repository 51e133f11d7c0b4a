"""A home in which the real commands are run."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.world.config import Home
from tests.world.processes import CONSUMER, HERE, Process, descendants, program
from tests.world.waiting import PATIENCE, until
from worker.ledger.sweep_signal import send_sweep_signal


class World(Home):
    """`bin` is where its programs lie. As a context manager it leaves nothing running."""

    def __init__(self, home: Path, *, bin: Path = HERE, state: Path | None = None) -> None:  # noqa: A002 - as in PATH
        super().__init__(home, state=state)
        self.bin = bin
        self.processes: list[Process] = []
        self._logs = home / "logs"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(FileNotFoundError):  # a test may have taken its home away
            self.gate.touch()  # whatever still hangs at it goes home
        for process in self.processes:
            if process.poll() is None:
                for pid in (process.pid, *descendants(process.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait(PATIENCE)

    def argv(self, command: str, *arguments: str) -> list[str]:
        """A command of this world, by its name or by its path."""
        return [command if "/" in command else program(command, self.bin), *arguments]

    def bus_watch(
        self, *arguments: str, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the real `bus-watch` to its end; never with a traceback."""
        done = subprocess.run(
            self.argv("bus-watch", *arguments),
            env=self.env | (env or {}),
            cwd=self.home,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """What a command says with `--json`."""
        return json.loads(self.bus_watch(*arguments, "--json").stdout)

    def start(self, command: str, *arguments: str, **env: str) -> Process:
        """Start a command that goes on."""
        self._logs.mkdir(exist_ok=True)
        log_path = self._logs / f"{len(list(self._logs.iterdir())):04}-{Path(command).name}.log"
        argv = self.argv(command, *arguments)
        process = Process(argv, env=self.env | env, cwd=self.home, log_path=log_path)
        self.processes = [known for known in self.processes if known.poll() is None]
        self.processes.append(process)
        return process

    def start_consumer(self, *flags: str, **env: str) -> Process:
        """Start the real `huey_consumer worker.app.huey`."""
        return self.start(*CONSUMER, *flags, **env)

    @contextlib.contextmanager
    def consumer(self, *flags: str, **env: str) -> Iterator[Process]:
        """The real `huey_consumer worker.app.huey`, which prints no traceback, while the block lasts."""
        with self.running(*CONSUMER, *flags, **env) as consumer:
            yield consumer

    @contextlib.contextmanager
    def running(self, command: str, *arguments: str, **env: str) -> Iterator[Process]:
        """A command, which prints no traceback, while the block lasts."""
        process = self.start(command, *arguments, **env)
        try:
            yield process
            assert "Traceback" not in process.log(), process.log()
        finally:
            process.end()
            self.gate.touch()

    def sweep(self) -> None:
        """Have a worker sweep, and wait until it has, from the beginning to the end."""
        swept = "select max(swept_at) as at from workers"
        for _ in range(2):  # the first may have begun before
            before = self.rows(swept)[0]["at"]
            send_sweep_signal(self.files)
            until(lambda before=before: self.rows(swept)[0]["at"] != before, "a sweep")  # type: ignore[misc]

    def log(self) -> str:
        """The end of what everything that was started has printed."""
        logs = sorted(self._logs.iterdir()) if self._logs.is_dir() else []
        return "".join(path.read_text("utf-8", "replace") for path in logs[-3:])[-4000:]
