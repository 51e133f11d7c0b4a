"""How the trial's UIs are installed: each by its exact version, in a folder of its own under one cache folder.

`npm install NAME` picks, without a word, an old release that the Node at hand is good enough for (Claude Code 2.1.197
for 2.1.332 under Node 20): so the version is always named, Node is at least `NODE`, taken from npm where the machine's
own is older, and what `--version` says afterwards decides.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

NODE = (22, 19)
"""The least Node: pi 1.5 asks for 22.19, Claude Code 2.1.332 for 22."""

NODE_PACKAGE = "node-{system}-{machine}@22"

_QUIETLY = ("--loglevel=error", "--no-update-notifier")  # once a day npm advertises its newer self, in any run


class InstallError(Exception):
    """A UI cannot be installed here, or what was installed is not what was asked for."""


def cache() -> Path:
    """Where the UIs are installed: a folder that can be deleted at any time."""
    return Path(os.environ.get("BUS_WATCH_TRIAL") or Path.home() / ".cache" / "bus-watch-trial")


@dataclass(frozen=True)
class Package:
    """What npm (or pip, into a virtual environment) installs: a package, its version, and the program in it."""

    name: str
    version: str
    program: str
    installer: str = "npm"
    inside: str = ""
    """The folder of the program, where it is another than npm's and pip's."""
    beside: tuple[str, ...] = ()
    """Further packages that it needs at run time, with their versions."""
    python: str = ""
    """The Python that it needs, where that may be newer than ours: `3.12`."""

    @property
    def folder(self) -> Path:
        """A folder for this version alone."""
        return cache() / "uis" / f"{self.program}-{self.version}"

    @property
    def path(self) -> Path:
        """Where its program lies once it is installed."""
        inside = self.inside or (Path("node_modules", ".bin") if self.installer == "npm" else Path("bin"))
        return self.folder / inside / self.program

    def newest(self) -> "Package":
        """The version that the registry serves today."""
        if self.installer == "npm":
            found = _said(["npm", "view", *_QUIETLY, self.name, "version"]).strip()
        else:
            listing = _said([_python(self.python), "-m", "pip", "index", "versions", self.name])
            shown = re.search(r"\(([^)]+)\)", listing)
            found = shown[1] if shown else ""
        if not re.fullmatch(r"[\w.+-]+", found):
            raise InstallError(f"the registry does not say which version of {self.name} is the newest: {found!r}")
        return replace(self, version=found)

    def says(self) -> str:
        """The version that the installed program says it is."""
        env = environment(cache())
        env["PATH"] = f"{self.path.parent}{os.pathsep}{env['PATH']}"
        argv = [str(self.path), "--version"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=env)
        except subprocess.TimeoutExpired:
            return "nothing within two minutes"
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return found[0] if found else f"nothing (exit status {done.returncode})"

    def install(self) -> None:
        """Install it unless it is there. Raises InstallError if that fails, or if the program says another version."""
        if not self.path.exists():
            try:
                self._by_npm() if self.installer == "npm" else self._by_pip()
            except InstallError:
                shutil.rmtree(self.folder, ignore_errors=True)  # half of it is of no use
                raise
        if (said := self.says()) != self.version:
            raise InstallError(
                f"{self.name}@{self.version} was asked for, but {self.path} says it is {said}: delete {self.folder},"
                " and see whether it can be had here: `npm view NAME@VERSION engines`, `pip index versions NAME`"
            )

    def _by_npm(self) -> None:
        ensure_node()
        _npm(self.folder, f"{self.name}@{self.version}", *self.beside)

    def _by_pip(self) -> None:
        _run([_python(self.python), "-m", "venv", str(self.folder)])
        _run([str(self.folder / "bin" / "pip"), "install", "--quiet", f"{self.name}=={self.version}"])


def size(folder: Path) -> int:
    """What `folder` takes on the disk, in MB."""
    blocks = (path.lstat().st_blocks for path in folder.rglob("*") if not path.is_symlink())
    return sum(blocks) * 512 // 10**6


def ensure_node() -> None:
    """Install a Node beside the UIs, from npm, unless the machine's own is new enough."""
    if _node_version() >= NODE:
        return
    system = {"linux": "linux", "darwin": "bin-darwin"}.get(sys.platform, sys.platform)
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    _npm(cache() / "node", NODE_PACKAGE.format(system=system, machine=machine))
    if (found := _node_version()) < NODE:
        raise InstallError(f"{cache() / 'node'} holds Node {found}, and the UIs need {NODE} or newer: delete it")


def node_version() -> str:
    """The version of the Node that runs the UIs."""
    return ".".join(map(str, _node_version()))


def environment(home: Path) -> dict[str, str]:
    """The least a terminal program needs, and a Node that is new enough."""
    return {
        "PATH": _path(),
        "HOME": str(home),
        "TERM": "tmux-256color",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "USER": os.environ.get("USER", "trial"),
    }


def _path() -> str:
    own = sorted(cache().glob("node/node_modules/*/bin"))
    return os.pathsep.join([*map(str, own), os.environ["PATH"]])


def _node_version() -> tuple[int, ...]:
    program = shutil.which("node", path=_path())
    if program is None:
        return ()
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return tuple(int(number) for number in re.findall(r"\d+", done.stdout))


def _python(least: str) -> str:
    """A Python of that version or newer: ours, one on PATH, or one of pyenv's."""
    wanted = tuple(map(int, least.split("."))) if least else ()
    if sys.version_info >= wanted:
        return sys.executable
    for minor in range(wanted[1], wanted[1] + 4):
        own = sorted(
            Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob(f"versions/3.{minor}.*/bin/python")
        )
        if found := [*map(str, own[-1:]), *filter(None, [shutil.which(f"python3.{minor}")])]:
            return found[0]
    raise InstallError(f"it needs Python {least} or newer, and there is none here")


def _npm(folder: Path, *packages: str) -> None:
    if shutil.which("npm") is None:
        raise InstallError(f"the trial needs npm to install {packages[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    # Its install scripts put the native binaries of claude and opencode into their places.
    argv = ["npm", "install", *_QUIETLY, "--no-audit", "--no-fund", "--ignore-scripts=false", *packages]
    _run(argv, cwd=folder, env=os.environ | {"PATH": _path()})


def _run(argv: list[str], **how: Any) -> None:
    try:
        subprocess.run(argv, check=True, **how)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InstallError(str(error)) from None


def _said(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InstallError(f"{' '.join(argv)}: {error}") from None
