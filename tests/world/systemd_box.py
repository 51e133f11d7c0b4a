"""A real systemd as process 1 of namespaces of its own, with users, their managers and their logins."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.world.installation import write_commands
from tests.world.processes import ROOT
from tests.world.waiting import until

LIMIT = 60.0
NEEDS = ("unshare", "nsenter", "ip", "systemctl", "loginctl", "dbus-daemon", "useradd", "/lib/systemd/systemd")


class CannotBootError(Exception):
    """This machine cannot boot a systemd in namespaces; says why."""


class SystemdBox:
    """Boots on entry, in a second or two, and takes all of it away at the end.

    The project's source lies at /opt/source in it, its packages at /opt/packages, and `install` makes an environment
    with the commands in /opt/bus-watch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "box"
        cgroups = Path("/sys/fs/cgroup/unified")
        self.cgroup = (cgroups if cgroups.is_dir() else cgroups.parent) / f"bus-watch-tests-{os.getpid()}"
        self.log = folder / "systemd.log"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise CannotBootError("it takes root")
        missing = [name for name in NEEDS if not shutil.which(name)]
        if missing:
            raise CannotBootError(f"missing: {', '.join(missing)} (Debian: systemd, dbus, libpam-systemd, iproute2)")
        self.folder.mkdir()
        try:
            self.cgroup.mkdir()
        except OSError as error:
            raise CannotBootError(f"no cgroup v2 that can be written: {error}") from None
        script = Path(__file__).with_name("systemd-box")
        command = [*map(str, (script, self.folder, self.cgroup, ROOT, sysconfig.get_path("purelib")))]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self.pid = until(self._first, "process 1 of the box")
            until(self._booted, "systemd to boot")
        except BaseException as error:
            self.close()
            if isinstance(error, ChildProcessError):
                said = self.log.read_text(errors="replace")[-500:].strip()
                raise CannotBootError(f"namespaces, an overlay or systemd failed: {said}") from None
            raise
        return self

    def _alive(self) -> None:
        if self.process.poll() is not None:
            raise ChildProcessError

    def _first(self) -> int:
        self._alive()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        return pids[0] if pids and Path(f"/proc/{pids[0]}/comm").read_text().strip() == "systemd" else 0

    def _booted(self) -> bool:
        self._alive()
        return self._run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill all of it: with process 1 of a pid namespace every process in it ends."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(LIMIT)
        until(lambda: "populated 0" in (self.cgroup / "cgroup.events").read_text(), "all of the box to end")
        for below, _, _ in os.walk(self.cgroup, topdown=False):
            Path(below).rmdir()

    def path(self, inside: str) -> Path:
        """A file in the box, from outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            [*enter, *command], env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )

    def run(self, *command: str) -> str:
        """Run it as root, to success; what it printed."""
        done = self._run(*command)
        assert done.returncode == 0, f"{shlex.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def user(self, name: str) -> "BoxUser":
        """A user of the box; made at the first call."""
        if self._run("id", name).returncode:
            self.run("useradd", "--create-home", "--shell", "/bin/sh", name)
        return BoxUser(self, name, int(self.run("id", "-u", name)))

    def install(self) -> None:
        """Put the program into /opt/bus-watch, as pip would: its commands, its modules, its packages."""
        python = f"{sys.base_prefix}/bin/python3"
        self.run(
            "chmod", "a+x", *map(str, Path(python).parents)
        )  # of the overlay: pyenv's Python lies in a closed home
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.run(python, "-m", "venv", "--without-pip", "/opt/bus-watch")
        packages = f"/opt/bus-watch/lib/{version}/site-packages"
        self.run("cp", "-a", "/opt/source/worker", "/opt/source/tasks", packages)
        self.path(f"{packages}/packages.pth").write_text("/opt/packages\n")
        self.packages = packages
        write_commands(self.path("/opt/bus-watch/bin"), Path("/opt/bus-watch/bin/python"))


class BoxUser:
    """A user of the box."""

    def __init__(self, box: SystemdBox, name: str, uid: int) -> None:
        self.box, self.name, self.uid = box, name, uid
        self.home = f"/home/{name}"

    def path(self, inside: str) -> Path:
        """A file below the user's home, from outside."""
        return self.box.path(f"{self.home}/{inside}")

    def try_(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run it as this user, with the user's own service manager where that runs."""
        runtime = f"/run/user/{self.uid}"
        bus = f"XDG_RUNTIME_DIR={runtime} DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus"
        path = "PATH=/opt/bus-watch/bin:/usr/bin:/bin LC_ALL=C.UTF-8"
        # util-linux's setpriv opens no session: no login that a test did not ask for
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups"]
        who = f"HOME={self.home} USER={self.name}"
        return self.box._run(*become, "env", "-C", self.home, "-i", *f"{who} {path} {bus}".split(), *command)

    def run(self, *command: str) -> str:
        """The same, to success; what it printed."""
        done = self.try_(*command)
        assert done.returncode == 0, f"{shlex.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        """A file below the user's home, the user's own; its path in the box."""
        file = self.path(name)
        for folder in reversed(file.relative_to(self.path("")).parents):
            if not self.path(str(folder)).is_dir():
                self.path(str(folder)).mkdir()
                os.chown(self.path(str(folder)), self.uid, self.uid)
        file.write_text(text)
        file.chmod(mode)
        os.chown(file, self.uid, self.uid)
        return f"{self.home}/{name}"
