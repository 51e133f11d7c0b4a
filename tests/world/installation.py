"""A world with a virtual environment of its own, in which lie the console scripts that pip would write.

It shares this project's source and the packages that the tests run with, so that making one takes a tenth of a second.
"""

import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

from tests.world.processes import ROOT
from tests.world.world import World

_SCRIPT = """#!{python}
import sys
from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}())
"""


def install(folder: Path) -> World:
    """A world whose home is `folder/home`, empty, and whose programs lie in `folder/venv/bin`."""
    programs = folder / "venv" / "bin"
    venv.create(folder / "venv", symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "venv" / "lib" / version / "site-packages"
    paths = [str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    measured = Path(paths[1], "a1_coverage.pth")  # coverage's own; of other folders Python reads no .pth
    lines = [*dict.fromkeys(paths), *measured.read_text().splitlines()]
    (packages / "project.pth").write_text("\n".join(lines) + "\n")
    write_commands(programs, programs / "python")
    return World(folder / "home", bin=programs)


def write_commands(programs: Path, python: Path) -> None:
    """Write the console scripts into a folder, as pip would, for an interpreter that may lie elsewhere."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, target in {**scripts, "huey_consumer": "huey.bin.huey_consumer:consumer_main"}.items():
        module, _, function = target.partition(":")
        script = programs / name
        script.write_text(_SCRIPT.format(python=python, module=module, function=function))
        script.chmod(0o755)
