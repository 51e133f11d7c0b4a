"""An installation of its own for a test: a virtual environment with the console scripts that pip would write.

It shares this project's source and the packages that the tests run with, so that making one takes a tenth of a second.
"""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fakes.measuring import measuring

PROJECT = Path(__file__).resolve().parents[2]

_SCRIPT = """#!{python}
import sys
from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}())
"""


class Installation:
    """`home` is the home folder of whoever uses it; nothing outside `folder` is read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        venv.create(folder / "venv", symlinks=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = folder / "venv" / "lib" / version / "site-packages"
        paths = [str(PROJECT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        measured = Path(paths[1], "a1_coverage.pth")  # coverage's own; of other folders Python reads no .pth
        lines = [*dict.fromkeys(paths), *measured.read_text().splitlines()]
        (packages / "project.pth").write_text("\n".join(lines) + "\n")
        scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
        for name, target in {**scripts, "huey_consumer": "huey.bin.huey_consumer:consumer_main"}.items():
            module, _, function = target.partition(":")
            script = self.bin / name
            script.write_text(_SCRIPT.format(python=self.bin / "python", module=module, function=function))
            script.chmod(0o755)

    @property
    def config(self) -> Path:
        return self.home / ".sos" / "bus-watch.json"

    def environment(self, **more: str) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **measuring(), **more}

    def run(
        self, *argv: str, stdin: str = "", environment: Mapping[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """`bus-watch ARGV...`, as a person would run it."""
        return subprocess.run(
            [str(self.bin / "bus-watch"), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=self.home,
            env=self.environment(**(environment or {})),
        )

    def start(self, argv: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """A process of this installation that goes on; its output lands in `log`."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=self.environment(**environment),
            )

    @property
    def log(self) -> Path:
        return self.folder / "log"
