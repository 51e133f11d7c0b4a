"""A recorded screen says nothing of the machine on which it was made, and keeps each cell in its place."""

import json
from pathlib import Path

import pytest

from ops.trial.recording import FOLDER, impersonal, save
from ops.trial.terminal import Screen


@pytest.mark.parametrize(
    ("home", "shown", "written"),
    [
        ("/root", "at /root/.cache/x on vm", "at /home/.cache/x on ho"),
        ("/home/anna", "/home/anna (vm)", "/home/me__ (ho)"),
        ("/Users/a", "/Users/a vmx", "/home/me vmx"),
        ("/u", "/u/x", "/h/x"),
    ],
)
def test_home_and_host_become_others_of_the_same_length(home: str, shown: str, written: str) -> None:
    assert impersonal(shown, home, "vm") == written
    assert len(written) == len(shown)


def test_text_and_title_are_written_so(tmp_path: Path) -> None:
    home = str(Path.home())
    screen = Screen(f"$ ls {home}/x", 0, 0, 1, 80, 24, 0, 0, 0, "node", f"{home} - ui")
    path = save(screen, profile="ui", state="idle", version="1.0", about="idle", folder=tmp_path)
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert saved["text"] == f"$ ls {impersonal(home)}/x"
    assert home not in saved["pane_title"]


def test_no_kept_recording_names_a_home() -> None:
    assert [path for path in FOLDER.glob("*/*.json") if "/root" in path.read_text(encoding="utf-8")] == []
