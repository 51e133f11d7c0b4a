"""Which version of an agent runs, from the files that its process was started from. Nothing is executed.

A profile is true of the version that it was measured on (`measured`). Promises: `version_of` never fails; an empty
text means that it cannot be told, as on another host, or of a program that keeps its version to itself.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from worker import process_table
from worker.terminal.processes import INTERPRETER, Process

_PARENTS = 6  # folders above a program that may hold what it belongs to
_VERSION = re.compile(r"v?(\d+\.\d+[\w.+-]*)")
_BUILD = re.compile(r"-(?:linux|darwin|win32)-(?:x64|arm64)(?:-musl)?$")  # codex's native program: 0.171.0-linux-x64
_MAX_BYTES = 1 << 20


def version_of(process: Process | None, commands: frozenset[str] = frozenset()) -> str:
    """The version of what `process` of this host runs, e.g. `2.1.332`, or nothing.

    Args:
        process: the one that the profile knows.
        commands: further names that its program may have.
    """
    if process is None:
        return ""
    names = frozenset(one for one in process.names | commands if not INTERPRETER.match(one))
    for path in _programs(process, names):
        try:
            if found := _of_file(path, names):
                return found
        except (OSError, ValueError):
            continue
    return ""


def _programs(process: Process, names: frozenset[str]) -> Iterator[Path]:
    """The files that it may run, likeliest first."""
    directory = process_table.link(process.pid, "cwd") or "/"
    if process.script:
        yield Path(directory, process.script)
    program = process_table.link(process.pid, "exe") or ""
    if program and Path(program).name.removesuffix(" (deleted)") in names:
        yield Path(program.removesuffix(" (deleted)"))
    # A Node that writes its own title (pi, kimi) has no script any more: what a shell would start by that name.
    path = (process_table.environment(process.pid) or {}).get("PATH", "")
    for name in sorted(names - {Path(program).name}):
        if found := shutil.which(name, path=path or os.defpath):
            yield Path(found)


def _of_file(path: Path, names: frozenset[str]) -> str:
    real = path.resolve(strict=True)
    folders = [real.parent, *list(real.parents)[1:_PARENTS]]
    for folder in folders:
        if found := _of_package(folder / "package.json"):
            return found
    for part in (real.name, *(folder.name for folder in folders)):  # ~/.local/share/claude/versions/2.1.332
        if match := _VERSION.fullmatch(part):
            return match[1]
    return _of_distribution(path.absolute(), names) or _of_distribution(real, names)


def _of_package(path: Path) -> str:
    """Of an npm package; a folder that merely holds some has no name."""
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return ""
    data = json.loads(path.read_text(encoding="utf-8"))
    named = isinstance(data, dict) and isinstance(data.get("name"), str)
    return _BUILD.sub("", data["version"]) if named and isinstance(data.get("version"), str) else ""


def _of_distribution(script: Path, names: frozenset[str]) -> str:
    """Of the Python distribution whose console script this is: it stands in a virtual environment's `bin`."""
    base = script.parent.parent
    found = [one for lib in ("lib", "lib64") for one in (base / lib).glob("python*/site-packages/*.dist-info")]
    # Most are called after their program; only if none is, all of them are read.
    likely = [one for one in found if any(one.name.lower().startswith(name.lower()) for name in names)]
    for folder in dict.fromkeys((*likely, *found)):
        if _scripts(folder / "entry_points.txt") & (names | {script.name}) or _installs(folder, script):
            return folder.name.removesuffix(".dist-info").rpartition("-")[2]
    return ""


def _scripts(points: Path) -> set[str]:
    """The commands among a distribution's entry points; others are called like a program, too (a lexer of Pygments)."""
    if not points.is_file() or points.stat().st_size > _MAX_BYTES:
        return set()
    section, found = "", set()
    for line in map(str.strip, points.read_text(encoding="utf-8").splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[console_scripts]":
            found.add(line.partition("=")[0].strip())
    return found


def _installs(folder: Path, script: Path) -> bool:
    """Whether the distribution's list of files names the script (a native program: Vibe 3.0)."""
    record = folder / "RECORD"
    if not record.is_file() or record.stat().st_size > _MAX_BYTES:
        return False
    return f"../../../bin/{script.name}," in record.read_text(encoding="utf-8")
