"""`ops/setup` installs what is pinned, whatever the index offers, and however often it is interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.fakes import index
from tests.fakes.index import Index
from tests.world.processes import ROOT

pytestmark = pytest.mark.timeout(600)  # ten environments are made, on a machine that may be busy

SET_UP_RUNS = {"pip"} | set(index.pinned_in((ROOT / "requirements-build.txt").read_text()))


class Checkout:
    """As much of this checkout as a set-up needs, with pins that fit a local index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_COMPILE": "0",  # what is installed hardly runs
        }
        ours = ("ops/setup", "ops/venv", "ops/wake-codex-desktop", "ops/*.md")
        for pattern in (*ours, "requirements*.txt", "pyproject.toml", "README.md", "LICENSE"):
            for file in ROOT.glob(pattern):
                self._copy(file)
        for package in ("worker", "tasks"):
            self._copy(ROOT / package / "__init__.py")

    def _copy(self, file: Path) -> None:
        target = self.folder / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)

    def use(self, found: Index) -> None:
        self.environment["PIP_INDEX_URL"] = found.url
        for file in self.folder.glob("requirements*.txt"):
            file.write_text(index.rewritten(file.read_text(), found))

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ops/setup", *arguments], cwd=self.folder, env=self.environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def set_up(self, *arguments: str) -> str:
        running = self.begin(*arguments)
        output, _ = running.communicate(timeout=240)
        assert running.returncode == 0, output
        return output

    def is_complete(self) -> bool:
        ask = ["ops/venv", "--complete", ".venv", "requirements-dev.txt"]
        return not subprocess.run(ask, cwd=self.folder, env=self.environment, check=False).returncode

    def installed(self) -> dict[str, str]:
        listing = [str(self.venv / "bin" / "python"), "-m", "pip", "list", "--format", "json"]
        done = subprocess.run(listing, env=self.environment, capture_output=True, check=True)
        return {str(canonicalize_name(one["name"])): one["version"] for one in json.loads(done.stdout)}


def all_pins(*files: str) -> dict[str, str]:
    pins: dict[str, str] = {}
    for file in files:
        pins |= index.pinned_in((ROOT / file).read_text())
    return pins


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_a_newer_release_of_any_dependency_changes_nothing(tmp_path: Path, checkout: Checkout) -> None:
    pins = all_pins(*(file.name for file in ROOT.glob("requirements*.txt") if file.name != "requirements-lock.txt"))
    checkout.use(index.make(tmp_path / "index", pins, whole=SET_UP_RUNS))
    assert not checkout.set_up("dev")
    wanted = all_pins("requirements-dev.txt", "requirements-pip.txt")
    own = {"bus-watch": checkout.installed()["bus-watch"]}
    assert checkout.installed() == wanted | own

    # From here on without an index: whatever would be installed once more could not be.
    checkout.environment["PIP_INDEX_URL"] = (tmp_path / "gone").as_uri()
    complete = checkout.venv / ".complete"
    made = complete.stat().st_mtime_ns
    checkout.set_up("dev")
    checkout.set_up()  # what the tests need holds what the program needs
    version = checkout.folder / "worker" / "__init__.py"
    version.write_text(f'"""Later."""\n__version__ = "{index.NEWER}"\n')
    checkout.set_up()
    assert checkout.installed() == wanted | {"bus-watch": index.NEWER}
    assert complete.stat().st_mtime_ns == made

    # A dependency that pyproject.toml has and the pins have not.
    project = checkout.folder / "pyproject.toml"
    project.write_text(project.read_text().replace("\ndependencies = [", '\ndependencies = ["left-pad",', 1))
    refused = checkout.begin("dev")
    output, _ = refused.communicate(timeout=240)
    assert refused.returncode == 1
    assert "requires left-pad, which is not installed" in output
    assert "ops/lock" in output

    # Made by another interpreter, or for other pins: not complete.
    assert checkout.is_complete()
    was = complete.read_text()
    complete.write_text(was.replace(sys.version.split()[0], "3.11.0"))
    assert not checkout.is_complete()
    complete.write_text(was)
    with (checkout.folder / "requirements-dev.txt").open("a") as pinned:
        pinned.write("# another\n")
    assert not checkout.is_complete()


def test_an_interrupted_set_up_is_finished_by_the_next(tmp_path: Path, checkout: Checkout) -> None:
    pins = all_pins("requirements.txt", "requirements-build.txt", "requirements-pip.txt")
    checkout.use(index.make(tmp_path / "index", pins, whole=SET_UP_RUNS))

    def there(pattern: str) -> Callable[[], bool]:
        return lambda: any(checkout.venv.glob(pattern))

    packages = "lib/python3*/site-packages"
    points = {
        "the environment is made": there("bin/python"),
        "pip is being replaced": there(f"{packages}/pip-{pins['pip']}.dist-info"),
        "packages are being installed": there(f"{packages}/annotated_types*"),
        "all but the editable install": there(".complete"),
    }
    for point, reached in points.items():
        # What the last one left may look like the point already: a set-up that begins anew takes it away first.
        begun = checkout.begin()
        gone = point == "the environment is made" or not reached()
        while not (gone and reached()):
            gone = gone or not reached()
            assert begun.poll() is None, f"it ended before this: {point}"
            time.sleep(0.01)
        os.killpg(begun.pid, signal.SIGKILL)
        begun.communicate(timeout=10)
        assert not (checkout.venv / ".editable").exists()
        assert (checkout.venv / ".complete").exists() == (point == "all but the editable install")
    checkout.set_up()
    assert checkout.installed() == pins | {"bus-watch": checkout.installed()["bus-watch"]}


def test_an_empty_environment_will_do(tmp_path: Path, checkout: Checkout) -> None:
    ask = ["ops/venv", "--complete", str(tmp_path / "none"), "requirements.txt"]
    asked = subprocess.run(ask, cwd=checkout.folder, env={}, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stderr) == (1, "")
    asked = subprocess.run(
        ask, cwd=checkout.folder, env={"PYTHON": "nonesuch"}, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 1
    assert asked.stderr == "there is no nonesuch; set PYTHON=/path/to/python3.11 or newer\n"
