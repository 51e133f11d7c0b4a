"""The configuration: the old watcher's file, many agents, overrides, and errors that name the key and the fix."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.configuration import config_path, load
from worker.errors import ConfigError
from worker.settings import AgentSettings, Settings, TransportSettings

CANARY = "canary-4f2a9c"
OLD_FILE = {
    "agent": "hadi-codex", "token_file": "~/.sos/token", "project": "sos", "bridge_url": "http://localhost:6380",
    "limit": 10, "poll_interval": 3, "state_path": "~/.sos/bus-watch-state.json", "allowlist": ["/usr/bin/tmux"],
    "transports": [{"name": "tmux", "command": ["/usr/bin/tmux", "display-message", "{text}"]}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nobody_s_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("BUS_WATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def read(where: Path, document: Any) -> Settings:
    path = where / "config.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return load(path)


def problem(where: Path, document: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        read(where, document)
    assert CANARY not in str(raised.value)
    return str(raised.value)


def test_the_old_watcher_s_file_is_read_as_it_is(tmp_path: Path) -> None:
    settings = read(tmp_path, OLD_FILE)
    (agent,) = settings.agents
    assert (agent.agent, agent.project, agent.limit, agent.poll_interval) == ("hadi-codex", "sos", 10, 3.0)
    assert agent.transports[0].command[-1] == "{text}"
    assert settings.state_file == tmp_path / ".sos" / "bus-watch-state.json"
    assert settings.ledger_file == tmp_path / ".sos" / "bus-watch-state.db"
    assert settings.queue_file == tmp_path / ".sos" / "bus-watch-state-queue.db"
    assert settings.files_dir == tmp_path / ".sos" / "bus-watch-state.d"


def test_the_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    settings = read(tmp_path, {"agent": "bob"})
    (agent,) = settings.agents
    transport = TransportSettings(name="t", command=("/bin/true",))
    assert (settings.workers, settings.start_from, settings.clear_text_after, settings.forget_after) == (
        4, 86400.0, 7 * 86400.0, 30 * 86400.0,
    )  # fmt: skip
    assert (agent.limit, agent.poll_interval, agent.requests_per_minute, agent.bridge_url) == (
        10, 3.0, 60, "http://localhost:6380",
    )  # fmt: skip
    assert (transport.timeout, transport.max_attempts, transport.retry_delay, transport.retry_max_delay) == (
        30,
        20,
        2,
        300,
    )
    assert (transport.ordered, transport.on_unknown, transport.give_up_after) == (True, "redeliver", 5 * 86400)
    assert transport.permanent_exit_codes == {64, 65, 66, 77, 78}


def test_keys_outside_the_list_are_defaults_for_each_agent(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        {"limit": 7, "bridge_url": "https://bus.example", "agents": [{"agent": "a"}, {"agent": "b", "limit": 9}]},
    )
    assert [(a.agent, a.limit, a.bridge_url) for a in settings.agents] == [
        ("a", 7, "https://bus.example"), ("b", 9, "https://bus.example"),
    ]  # fmt: skip
    assert settings.agent("b") is settings.agents[1]
    assert settings.agent("c") is None
    assert settings.transport("a", "none") is settings.transport("c", "none") is None


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUS_WATCH_WORKERS", "9")
    monkeypatch.setenv("BUS_WATCH_LIMIT", "33")
    monkeypatch.setenv("BUS_WATCH_TRANSPORTS", '[{"name": "x", "command": ["/bin/true"]}]')
    settings = read(tmp_path, OLD_FILE | {"workers": 2})
    assert (settings.workers, settings.agents[0].limit, settings.agents[0].transports[0].name) == (9, 33, "x")
    monkeypatch.setenv("BUS_WATCH_TRANSPORTS", "[")
    assert "BUS_WATCH_TRANSPORTS is not valid JSON" in problem(tmp_path, OLD_FILE)
    monkeypatch.delenv("BUS_WATCH_TRANSPORTS")
    monkeypatch.setenv("BUS_WATCH_AGENTS", CANARY)
    assert "environment" in problem(tmp_path, OLD_FILE)


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_path() == tmp_path / ".sos" / "bus-watch.json"
    monkeypatch.setenv("BUS_WATCH_CONFIG", "~/other.json")
    assert config_path() == tmp_path / "other.json"
    assert config_path("given.json") == Path("given.json")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(90, 90), (1.5, 1.5), ("90", 90), ("90s", 90), ("15m", 900), (" 2 h ", 7200), ("1.5d", 129600)],
)
def test_durations(given: Any, seconds: float) -> None:
    assert TransportSettings(name="t", command=("/bin/true",), timeout=given).timeout == seconds


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"limt": 1}, "unknown key 'limt'; did you mean 'limit'?"),
    ({"agents": [{"agent": "b", "limt": 1}]}, "agents.0: unknown key 'limt'; did you mean 'limit'?"),
    (
        {"transports": [{"name": "t", "command": ["/x"], "time_out": 1}]},
        "unknown key 'time_out'; did you mean 'timeout'?",
    ),
    ({"zzz": 1}, "unknown key 'zzz'"),
    ({"transports": [{"name": "t"}]}, "'command' is missing"),
    ({"transports": [{"name": "t", "command": []}]}, "transports.0.command"),
    ({"transports": [{"name": "t", "command": ["/x", "{txet}"]}]}, "txet"),
    ({"transports": [{"name": "t", "command": ["/x", "{text.upper}"]}]}, "transports.0.command"),
    ({"transports": [{"name": "a b", "command": ["/x"]}]}, "transports.0.name"),
    ({"transports": [{"name": "t", "command": ["/x"]}] * 2}, "transport names must differ: t is there twice"),
    ({"transports": [{"name": "t", "command": ["/x"], "env": {"SOS_AGENT": CANARY}}]}, "SOS_ is ours"),
    ({"transports": [{"name": "t", "command": ["/x"], "env": {"A": "\0" + CANARY}}]}, "the value of A has a NUL"),
    ({"transports": [{"name": "t", "command": ["/x"], "timeout": 0}]}, "transports.0.timeout"),
    ({"transports": [{"name": "t", "command": ["/x"], "timeout": "soon"}]}, "transports.0.timeout"),
    ({"transports": [{"name": "t", "command": ["/x"], "permanent_exit_codes": [0]}]}, "permanent_exit_codes"),
    ({"transports": [{"name": "t", "command": ["/x"], "on_unknown": "guess"}]}, "on_unknown"),
    ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
    ({"poll_interval": -1}, "poll_interval: Input should be greater than 0"),
    ({"requests_per_minute": 601}, "requests_per_minute"),
    ({"agent": "Bob"}, "agent"),
    ({"agent": "../bob"}, "agent"),
    ({"bridge_url": "ftp://x"}, "not an http:// or https:// address"),
    ({"bridge_url": f"https://user:{CANARY}@x"}, "must hold no user, password, query or fragment"),
    ({"bridge_url": "https://x:99999"}, "port"),
    ({"bridge_url": "http://bus.example"}, "the token would travel in the clear to bus.example"),
    ({"allowlist": ["tmux"]}, "'tmux' is no absolute path"),
    ({"workers": 0}, "workers"),
    ({"start_from": "yesterday"}, "start_from"),
    ({"agents": []}, "there is none"),
    ({"agents": {}}, "agents must be a list of objects"),
    ({"agents": [{"agent": "b"}, {"agent": "b"}]}, "agents must differ: b is there twice"),
    ({"token": [CANARY]}, "token"),
    ({"token": ""}, "token"),
]


@pytest.mark.parametrize(("change", "words"), PROBLEMS, ids=[words for _, words in PROBLEMS])
def test_a_problem_names_the_key_and_the_file(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    said = problem(tmp_path, {"agent": "bob"} | change)
    assert words in said
    assert all(line.startswith(str(tmp_path / "config.json")) for line in said.splitlines())


def test_each_problem_has_a_line(tmp_path: Path) -> None:
    assert len(problem(tmp_path, {"agent": "bob", "limit": 0, "poll_interval": -1, "workers": 0}).splitlines()) == 3


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must hold one JSON object"),
        (b"\xff\xfe\xfa", "not"),
        (b'{"agent": "b\xff"}', "is not UTF-8 text"),
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"limit": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_files_that_hold_no_configuration(tmp_path: Path, raw: bytes, words: str) -> None:
    assert words in problem(tmp_path, raw)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; write one with: bus-watch install"):
        load(tmp_path / "nothing.json")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("key", ["state_path", "token_file", "log_file", "metrics_file"])
@pytest.mark.parametrize("path", ["~nobody-of-that-name/file", "nul\0", "", "/"])
def test_what_is_no_path_is_said_when_it_is_read(tmp_path: Path, key: str, path: str) -> None:
    assert key in problem(tmp_path, {"agent": "bob", key: path})


def test_a_configuration_in_nobody_s_home() -> None:
    with pytest.raises(ConfigError, match="whom this machine does not know"):
        load("~nobody-of-that-name/config.json")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(sorted({*AgentSettings.model_fields, *Settings.model_fields, *TransportSettings.model_fields}))


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=4))
def test_nothing_in_a_file_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, top: dict[str, Any], transport: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    document = {"agent": "bob", "transports": [{"name": "t", "command": ["/bin/true"]} | transport]} | top
    path.write_text(json.dumps(document))
    with contextlib.suppress(ConfigError):
        assert load(path).agents


def test_an_empty_variable_counts_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(tmp_path, OLD_FILE)
    for key in (*AgentSettings.model_fields, *Settings.model_fields):
        monkeypatch.setenv(f"BUS_WATCH_{key.upper()}", "")
    assert read(tmp_path, OLD_FILE) == before


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BUS_WATCH_LIMIT", "none"),
        ("BUS_WATCH_WORKERS", "0"),
        ("BUS_WATCH_BRIDGE_URL", "ftp://x"),
        ("BUS_WATCH_POLL_INTERVAL", "soon"),
        ("BUS_WATCH_LOG_LEVEL", "LOUD"),
        ("BUS_WATCH_ALLOWLIST", "/bin/true"),
        ("BUS_WATCH_FORGET_AFTER", "-1"),
    ],
)
def test_a_bad_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    for line in problem(tmp_path, OLD_FILE).splitlines():
        assert line.startswith(f"environment: {variable}")


def test_only_documented_variables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUS_WATCH_CONFIG_PATH", "/elsewhere")
    assert read(tmp_path, OLD_FILE).config_path.parent == tmp_path
