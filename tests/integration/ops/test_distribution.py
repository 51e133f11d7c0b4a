"""What `ops/release` would publish: complete, and readable where it is published."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import worker
from tests.world.processes import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with archive and wheel; the wheel is made out of the archive."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_index_takes_both(built: Path) -> None:
    files = sorted(str(file) for file in built.iterdir())
    assert len(files) == 2
    check = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.count("PASSED") == 2, done.stdout + done.stderr


def test_the_wheel_carries_what_users_read_and_run(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (script,) = [name for name in names if name.endswith(".data/scripts/wake-codex-desktop")]
        first, _, rest = archive.read(script).partition(b"\n")
        assert first == b"#!python", "an installer writes the environment's own in its place"
        assert rest == (ROOT / "ops" / "wake-codex-desktop").read_bytes().partition(b"\n")[2]
        for page in ("runbook.md", "codex-desktop.md"):
            assert archive.read(f"worker/share/{page}") == (ROOT / "ops" / page).read_bytes()
    profiles = {file.name for file in (ROOT / "worker/terminal/profiles").glob("*.toml")}
    assert profiles == {Path(name).name for name in names if name.endswith(".toml")}
    assert {name.split("/")[0] for name in names if name.endswith(".py")} == {"worker", "tasks"}


def test_the_archive_carries_the_tests_and_the_pages(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        carried = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("worker", "tasks", "tests", "ops", "docs")
    here = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files = {file.name for file in ROOT.iterdir() if file.is_file() and not file.name.startswith(".")}
    assert (here | files) - carried <= {"bench-results.json"}


def test_the_version_is_that_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == worker.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", worker.__version__)


def test_the_readme_links_to_whole_addresses() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
