"""A package index in a folder: every pinned package at its pinned version, and a newer release of each.

The wheels carry the real metadata of what is installed here, so that an installer which resolves meets the real
requirements and extras. They hold nothing else, but for those that the set-up itself runs, which are whole.
"""

import hashlib
import re
import zipfile
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEWER = "9999.1"


@dataclass(frozen=True)
class Index:
    """`url` is pip's --index-url; `hashes` are those of the pinned wheels, by canonical name."""

    url: str
    pins: dict[str, str]
    hashes: dict[str, str]


def pinned_in(requirements: str) -> dict[str, str]:
    """Versions by canonical name of what a requirements file pins for this Python and platform."""
    pins = {}
    for line in re.sub(r"\\\n\s*--hash=\S+", "", requirements).splitlines():
        requirement = Requirement(line.strip().rstrip("\\"))
        if requirement.marker is None or requirement.marker.evaluate():
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            pins[str(canonicalize_name(requirement.name))] = pin.version
    return pins


def make(folder: Path, pins: dict[str, str], *, whole: set[str]) -> Index:
    """Make it in `folder`; the packages named in `whole` work once they are installed."""
    hashes = {}
    for name, version in pins.items():
        found = distribution(name)
        assert found.version == version, f"{name} {found.version} is installed here, {version} is pinned: ops/setup dev"
        page = folder / name
        page.mkdir(parents=True)
        pinned = _wheel(page, found, version, whole=name in whole)
        hashes[name] = hashlib.sha256(pinned.read_bytes()).hexdigest()
        wheels = [pinned, _wheel(page, found, NEWER, whole=False)]
        (page / "index.html").write_text("".join(f'<a href="{one.name}">{one.name}</a>\n' for one in wheels))
    return Index(folder.as_uri(), pins, hashes)


def rewritten(requirements: str, index: Index) -> str:
    """The same pins with the hashes of the index's wheels."""

    def line(match: re.Match[str]) -> str:
        hashed = index.hashes.get(str(canonicalize_name(match["name"])), "0" * 64)
        return f"{match['pin']} --hash=sha256:{hashed}\n"

    return re.sub(
        r"^(?P<pin>(?P<name>[\w.-]+)==.*?) *(?:\\\n +--hash=\S+ *)+\n", line, requirements, flags=re.MULTILINE
    )


def _wheel(folder: Path, found: Distribution, version: str, *, whole: bool) -> Path:
    stem = f"{canonicalize_name(found.name).replace('-', '_')}-{version}"
    content: dict[str, bytes] = {}
    if whole:
        for file in found.files or []:
            if file.parts[0] != ".." and not any(part == "__pycache__" or ".dist-info" in part for part in file.parts):
                content[file.as_posix()] = Path(str(file.locate())).read_bytes()
    metadata = found.read_text("METADATA")
    assert metadata is not None
    information = {
        "METADATA": re.sub(r"^Version: .*$", f"Version: {version}", metadata, count=1, flags=re.MULTILINE),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": (found.read_text("entry_points.txt") or "") if whole else "",
    }
    content |= {f"{stem}.dist-info/{name}": text.encode() for name, text in information.items()}
    record = f"{stem}.dist-info/RECORD"
    content[record] = "".join(f"{name},,\n" for name in [*content, record]).encode()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return wheel
