"""How the trial's UIs are installed: what cannot be had leaves nothing, and the right Python is asked."""

from pathlib import Path
from typing import NoReturn

import pytest

from ops.trial import installing
from ops.trial.installing import InstallError, Package


def test_half_of_a_package_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, *_packages: str) -> NoReturn:
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
        raise InstallError("a dependency of it is not served")

    monkeypatch.setenv("BUS_WATCH_TRIAL", str(tmp_path))
    monkeypatch.setattr(installing, "ensure_node", lambda: None)
    monkeypatch.setattr(installing, "_npm", broken)
    with pytest.raises(InstallError, match="not served"):
        Package("some-ui", "1.0.0", "ui").install()
    assert list((tmp_path / "uis").iterdir()) == []


def test_a_package_for_a_newer_python_is_asked_for_with_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip lists only what fits the Python that runs it: of Mistral Vibe that was nothing."""
    asked: list[list[str]] = []

    def said(argv: list[str]) -> str:
        asked.append(argv)
        return "some-ui (3.0.3)\nAvailable versions: 3.0.3, 3.0.2\n"

    monkeypatch.setattr(installing, "_said", said)
    monkeypatch.setattr(installing, "_python", lambda least: f"/opt/python{least}")
    assert Package("some-ui", "3.0.2", "ui", "pip", python="3.12").newest().version == "3.0.3"
    assert asked[0][0] == "/opt/python3.12"
