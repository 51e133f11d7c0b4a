"""A configuration that changes: when it is read, what is taken of it, what is refused, and what is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker import configuration
from worker.errors import BusWatchError
from worker.reloading import LOOK_SECONDS, NEEDS_RESTART, LiveConfiguration, differences
from worker.settings import Settings

BOB: dict[str, Any] = {
    "agent": "bob",
    "token_env": "T",
    "transports": [{"name": "wake", "command": ["/bin/true"]}],
}


class Scene:
    """A file, and what was taken and refused of it. The signal and the clock are the test's."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.now = 100.0
        self.signal = 0
        self.taken: list[tuple[Settings, tuple[str, ...]]] = []
        self.refused: list[str] = []
        self.full = False
        monkeypatch.setattr("worker.reloading.time.monotonic", lambda: self.now)
        self.write(agents=[BOB])
        self.live = LiveConfiguration(
            configuration.load(path), take=self._take, refuse=self._refuse, asked=lambda: self.signal
        )

    def _take(self, settings: Settings, needs_restart: tuple[str, ...]) -> None:
        if self.full:
            raise BusWatchError("the disk is full")
        self.taken.append((settings, needs_restart))

    def _refuse(self, sentence: str) -> None:
        if self.full:
            raise BusWatchError("the disk is full")
        self.refused.append(sentence)

    def write(self, **fields: Any) -> None:
        self.path.write_text(json.dumps(fields))
        self.path.chmod(0o600)

    def look(self, *, asked: bool = False) -> tuple[int, int]:
        """A look when the next one is due; how often something was taken, and refused, so far."""
        self.now += LOOK_SECONDS
        self.live.look(asked=asked)
        return len(self.taken), len(self.refused)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path / "bus-watch.json", monkeypatch)


def test_it_is_read_once_at_the_start_and_then_when_it_changes_or_somebody_asks(scene: Scene) -> None:
    assert scene.look() == (1, 0)  # it may have changed since what is in force was read
    assert scene.look() == (1, 0)
    scene.write(agents=[BOB, BOB | {"agent": "eve"}])
    assert scene.look() == (2, 0)
    assert [agent.agent for agent in scene.taken[-1][0].agents] == ["bob", "eve"]
    scene.signal += 1
    assert scene.look() == (3, 0)
    assert scene.look(asked=True) == (4, 0)
    assert scene.look() == (4, 0)


def test_it_looks_once_a_second_unless_asked(scene: Scene) -> None:
    scene.look()
    scene.write(agents=[BOB | {"limit": 12}])
    scene.live.look()
    assert len(scene.taken) == 1
    scene.live.look(asked=True)
    assert len(scene.taken) == 2


def test_what_is_bad_is_refused_once_with_its_sentence(scene: Scene) -> None:
    scene.look()
    scene.write(agents=[BOB | {"limmit": 12}])
    assert scene.look() == (1, 1)
    assert "did you mean 'limit'?" in scene.refused[0]
    assert scene.look() == (1, 1)
    scene.path.unlink()
    assert scene.look() == (1, 2)
    assert "does not exist" in scene.refused[1]
    scene.write(agents=[BOB])
    assert scene.look() == (2, 2)


def test_what_could_not_be_written_down_is_read_again(scene: Scene) -> None:
    scene.look()
    scene.full = True
    scene.write(agents=[BOB | {"limit": 12}])
    scene.look()
    scene.look()
    scene.full = False
    assert scene.look() == (2, 0)
    assert scene.look() == (2, 0)


def test_keys_that_need_a_restart_are_kept_and_named(scene: Scene) -> None:
    scene.look()
    scene.write(agents=[BOB | {"limit": 12}], workers=7, log_level="ERROR", forget_after="1d")
    scene.look()
    settings, needs_restart = scene.taken[-1]
    assert needs_restart == ("workers", "log_level")
    assert (settings.workers, settings.log_level, settings.forget_after) == (4, "INFO", 86400.0)
    assert settings.agents[0].limit == 12
    scene.write(agents=[BOB])
    scene.look()
    assert scene.taken[-1][1] == ()


def test_every_key_of_the_whole_is_taken_or_needs_a_restart(scene: Scene) -> None:
    """One that is new has to be thought about."""
    live = {
        "agents",
        "alerts",
        "allowlist",
        "host_lost_after",
        "start_from",
        "clear_text_after",
        "forget_after",
        "forget_dead_after",
    }
    assert live | set(NEEDS_RESTART) == set(Settings.model_fields) - {"config_path"}


def test_differences_hold_no_values(scene: Scene) -> None:
    before = configuration.load(scene.path)
    scene.write(agents=[BOB | {"token_env": "SECRET"}, BOB | {"agent": "eve"}], allowlist=["/bin/true"])
    after = configuration.load(scene.path)
    assert differences(before, after) == ["eve is new", "bob: token_env changed", "allowlist changed"]
    assert differences(after, before) == ["eve is gone", "bob: token_env changed", "allowlist changed"]
    assert differences(before, before) == []
