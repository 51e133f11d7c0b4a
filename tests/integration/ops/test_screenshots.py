"""`ops/screenshots` makes the pictures of the documentation."""

import os
import subprocess
import sys
from pathlib import Path

from tests.world.processes import ROOT

PICTURES = {
    "top-80x24.png", "top-160x50.png",
    "web-desktop-light.png", "web-desktop-dark.png", "web-phone-light.png", "web-phone-dark.png",
}  # fmt: skip


def test_it_makes_every_picture(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "ops.screenshots_scene", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    for folder in (tmp_path, ROOT / "docs" / "screenshots"):
        made = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert set(made) == PICTURES
        assert all(content.startswith(b"\x89PNG") and len(content) > 20_000 for content in made.values())
