"""`doctor` reads the owner's agent profiles."""

from pathlib import Path

from worker.doctor.profiles import check

GOOD = 'name = "{}"\n[process]\ncommands = ["{}"]\n[composer]\nstart = "^> "\n'


def test_without_any_nothing_is_said(tmp_path: Path) -> None:
    assert list(check({"HOME": str(tmp_path)})) == []


def test_a_mistake_fails_and_the_others_are_named(tmp_path: Path) -> None:
    folder = tmp_path / ".config/bus-watch/profiles"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(GOOD.format("mine", "mine"))
    (folder / "codex.toml").write_text(GOOD.format("codex", "codex"))
    (folder / "typo.toml").write_text(GOOD.format("typo", "typo").replace("start", "strat"))
    failed, right = check({"HOME": str(tmp_path)})
    assert (failed.state, right.state) == ("FAIL", "ok")
    assert f"{folder}/typo.toml:5: unknown key `strat`" in failed.text
    assert f"{folder}/codex.toml (instead of the shipped one), {folder}/mine.toml" in right.text


def test_the_folder_that_transports_see_is_read_too(tmp_path: Path) -> None:
    folder = tmp_path / ".config/bus-watch/profiles"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text("name =")
    assert [one.state for one in check({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "other")})] == ["FAIL"]
