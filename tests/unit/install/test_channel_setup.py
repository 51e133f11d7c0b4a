"""`agent setup`: what an agent's own channel needs is shown, made and undone; nobody else's file is touched."""

import json
import stat
from pathlib import Path

import pytest

from worker.cli.main import main
from worker.install import channels
from worker.terminal.channels.names import CHANNELS


def test_every_channel_can_be_set_up() -> None:
    assert set(channels.agents()) == set(CHANNELS)


def test_the_plugin_is_shown_made_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    plugin = tmp_path / ".config/opencode/plugin/bus-watch.js"
    assert main(["agent", "setup", "opencode"]) == 0
    shown = capsys.readouterr().out
    assert f"{plugin}: missing" in shown
    assert "net.createServer" in shown
    assert not plugin.exists()
    assert main(["agent", "setup", "opencode", "--write"]) == 0
    assert stat.S_IMODE(plugin.stat().st_mode) == 0o600
    assert plugin.read_text().startswith(channels.OURS)
    assert main(["agent", "setup", "opencode", "--write"]) == 0, "it is there already"
    assert main(["agent", "setup", "opencode", "--undo"]) == 0
    assert not plugin.exists()
    assert main(["agent", "setup", "opencode", "--undo"]) == 0, "it is gone already"


@pytest.mark.parametrize("option", ["--write", "--undo"])
def test_somebody_elses_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    plugin = tmp_path / ".config/opencode/plugin/bus-watch.js"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("// mine\n")
    assert main(["agent", "setup", "opencode", option]) == 1
    assert plugin.read_text() == "// mine\n"


def test_a_plugin_of_an_older_version_is_replaced(tmp_path: Path) -> None:
    setup = channels.setup_of("opencode", {"HOME": str(tmp_path)})
    assert setup.path is not None
    setup.path.parent.mkdir(parents=True)
    setup.path.write_text(f"{channels.OURS} of last year\n")
    assert setup.state() == "old"
    setup.write()
    assert setup.state() == "there"


def test_pis_extension_lies_where_pi_looks(tmp_path: Path) -> None:
    setup = channels.setup_of("pi", {"HOME": str(tmp_path)})
    assert setup.path == tmp_path / ".pi/agent/extensions/bus-watch.js"
    assert setup.content.startswith(channels.OURS)
    moved = channels.setup_of("pi", {"HOME": str(tmp_path), "PI_CODING_AGENT_DIR": "/srv/pi"})
    assert moved.path == Path("/srv/pi/extensions/bus-watch.js")


def test_copilots_extension_comes_with_the_setting_that_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COPILOT_HOME", raising=False)
    settings = tmp_path / ".copilot/settings.json"
    extension = tmp_path / ".copilot/extensions/bus-watch/extension.mjs"
    settings.parent.mkdir()
    settings.write_text('{"theme": "dark"}')
    assert main(["agent", "setup", "copilot"]) == 0
    shown = capsys.readouterr().out
    assert f"{settings}: missing" in shown
    assert f"{extension}: missing" in shown
    assert main(["agent", "setup", "copilot", "--write", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["state"] == "there"
    assert {one["state"] for one in said["files"]} == {"there"}
    assert json.loads(settings.read_text()) == {"theme": "dark", "experimental": True}
    assert extension.read_text().startswith(channels.OURS)
    assert main(["agent", "setup", "copilot", "--undo"]) == 0
    assert not extension.exists()
    assert json.loads(settings.read_text()) == {"theme": "dark", "experimental": True}, "they may be the owner's own"


def test_an_owner_without_copilots_experimental_features_keeps_it_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COPILOT_HOME", raising=False)
    settings = tmp_path / ".copilot/settings.json"
    settings.parent.mkdir()
    settings.write_text('{"experimental": false}')
    assert main(["agent", "setup", "copilot", "--write"]) == 1
    assert json.loads(settings.read_text()) == {"experimental": False}
    assert not (tmp_path / ".copilot/extensions").exists()


def test_a_setting_is_put_beside_the_owners_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QWEN_HOME", raising=False)
    settings = tmp_path / ".qwen/settings.json"
    assert main(["agent", "setup", "qwen"]) == 0
    assert f"{settings}: missing" in capsys.readouterr().out
    assert main(["agent", "setup", "qwen", "--write"]) == 0
    assert json.loads(settings.read_text()) == {"agents": {"crossSessionInbound": "accept"}}
    assert main(["agent", "setup", "qwen", "--undo"]) == 0
    assert json.loads(settings.read_text()) == {}
    mine = {"ui": {"theme": "ä"}, "agents": {"other": 1}}
    settings.write_text(json.dumps(mine))
    assert main(["agent", "setup", "qwen", "--write"]) == 0
    assert json.loads(settings.read_text())["agents"] == {"other": 1, "crossSessionInbound": "accept"}
    assert main(["agent", "setup", "qwen", "--undo"]) == 0
    assert json.loads(settings.read_text()) == mine


@pytest.mark.parametrize("text", ['{"agents": {"crossSessionInbound": "refuse"}}', "{ // mine\n}", "[]"])
def test_an_owners_own_setting_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QWEN_HOME", raising=False)
    settings = tmp_path / ".qwen/settings.json"
    settings.parent.mkdir()
    settings.write_text(text)
    assert main(["agent", "setup", "qwen", "--write"]) == 1
    assert settings.read_text() == text


def test_what_needs_no_file_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "setup", "claude", "--write"]) == 0
    assert "crossSessionInbound" in capsys.readouterr().out


def test_an_agent_without_a_channel_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "setup", "opencod"]) == 64
    assert "opencode" in capsys.readouterr().err


@pytest.fixture
def qwens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a Qwen Code; they are not there yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QWEN_HOME", raising=False)
    (tmp_path / ".qwen").mkdir()
    return tmp_path / ".qwen/settings.json"


ACCEPTS = {"agents": {"crossSessionInbound": "accept"}}


def test_settings_that_lie_elsewhere_are_changed_there_and_keep_their_mode(qwens: Path, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles.json"
    dotfiles.write_text("{}")
    dotfiles.chmod(0o644)
    qwens.symlink_to(dotfiles)
    assert main(["agent", "setup", "qwen", "--write"]) == 0
    assert (qwens.is_symlink(), json.loads(dotfiles.read_text())) == (True, ACCEPTS)
    assert stat.S_IMODE(dotfiles.stat().st_mode) == 0o644
    assert main(["agent", "setup", "qwen", "--undo"]) == 0
    assert (qwens.is_symlink(), json.loads(dotfiles.read_text())) == (True, {})


@pytest.mark.parametrize("option", ["--write", "--undo"])
@pytest.mark.parametrize(
    "content",
    [
        b'{"name": "J\xf6rg"}',
        b"[" * 100_000,
        b'{"agents": {"crossSessionInbound": "accept"}, // mine\n}',
        b"nonsense",
        b"7",
    ],
    ids=["latin-1", "nested", "comments", "no JSON", "a number"],
)
def test_settings_that_cannot_be_read_stay_as_they_are(
    qwens: Path, capsys: pytest.CaptureFixture[str], content: bytes, option: str
) -> None:
    qwens.write_bytes(content)
    assert main(["agent", "setup", "qwen", option]) == 1
    assert qwens.read_bytes() == content
    assert str(qwens) in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--write", "--undo"])
def test_read_only_settings_stay_so(qwens: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    content = "{}" if option == "--write" else json.dumps(ACCEPTS)
    qwens.write_text(content)
    qwens.chmod(0o444)
    assert main(["agent", "setup", "qwen", option]) == 1
    assert "read-only" in capsys.readouterr().err
    assert (qwens.read_text(), stat.S_IMODE(qwens.stat().st_mode)) == (content, 0o444)


def test_a_section_that_is_null_is_filled_and_another_kind_stays(qwens: Path) -> None:
    qwens.write_text('{"agents": null}')
    assert main(["agent", "setup", "qwen", "--write"]) == 0
    assert json.loads(qwens.read_text()) == ACCEPTS
    qwens.write_text('{"agents": ["accept"]}')
    assert main(["agent", "setup", "qwen", "--write"]) == 1
    assert main(["agent", "setup", "qwen", "--undo"]) == 0
    assert qwens.read_text() == '{"agents": ["accept"]}'


@pytest.mark.parametrize("agent", channels.agents())
def test_twice_is_as_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def files() -> dict[str, str]:
        return {str(one): one.read_text() for one in tmp_path.rglob("*") if one.is_file()}

    made = []
    for option in ("--write", "--write", "--undo", "--undo", "--write"):
        assert main(["agent", "setup", agent, option]) == 0
        made.append(files())
    assert made[0] == made[1] == made[4]
    assert made[2] == made[3]


def test_where_somebody_elses_extension_lies_no_setting_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COPILOT_HOME", raising=False)
    theirs = tmp_path / ".copilot/extensions/bus-watch/extension.mjs"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("// mine\n")
    assert main(["agent", "setup", "copilot", "--write"]) == 1
    assert theirs.read_text() == "// mine\n"
    assert not (tmp_path / ".copilot/settings.json").exists()
