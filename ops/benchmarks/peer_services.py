"""What the peers need: an environment with them at pinned versions, a PostgreSQL and a Redis that sync each commit.

The environment lies in the cache folder, the data in a temporary one; the servers have ports of their own.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

PINS = Path(__file__).with_name("peers.txt")
START_SECONDS = 30.0


def python() -> Path:
    """The Python of an environment that holds exactly what is pinned; made where it is not there yet."""
    mark = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "bus-watch-bench" / f"peers-{mark}"
    if not (folder / ".complete").exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--no-deps", "--only-binary", ":all:", "--requirement", str(PINS)], check=True)
        (folder / ".complete").touch()
    return folder / "bin" / "python"


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The address of a fresh PostgreSQL with its own defaults: each commit is synced."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise SystemExit("there is no PostgreSQL: apt-get install postgresql")
    where = found[-1].parent
    with _folder("postgres" if os.geteuid() == 0 else None) as (home, user):
        data = f"{home}/data"
        subprocess.run(
            [f"{where}/initdb", "-D", data, "-U", "bench", "-A", "trust"],
            user=user,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        port = _free_port()
        argv = [f"{where}/postgres", "-D", data, "-p", str(port), "-k", home, "-h", "127.0.0.1"]
        with _server(argv, user, port, signal.SIGINT):
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """The port of a fresh Redis that syncs each write before it answers."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no Redis: apt-get install redis-server")
    with _folder(None) as (home, _):
        port = _free_port()
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with _server([program, "--port", str(port), "--dir", home, *durable], None, port, signal.SIGTERM):
            yield str(port)


@contextlib.contextmanager
def _folder(user: str | None) -> Iterator[tuple[str, str | None]]:
    home = tempfile.mkdtemp(prefix="bus-watch-peer-")
    try:
        if user is not None:  # postgres refuses to run as root
            os.chown(home, pwd.getpwnam(user).pw_uid, -1)
        yield home, user
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _server(argv: list[str], user: str | None, port: int, stop: signal.Signals) -> Iterator[None]:
    process = subprocess.Popen(argv, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{argv[0]} did not start") from None
                time.sleep(0.1)
        time.sleep(0.5)  # PostgreSQL listens a moment before it serves
        yield
    finally:
        process.send_signal(stop)
        process.wait()
