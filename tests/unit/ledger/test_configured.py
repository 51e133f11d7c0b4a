"""Which ledger the settings name, and that the URL of a server is kept as a token is."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.world.postgres import Server
from worker.configuration import load
from worker.errors import ConfigError
from worker.ledger import configured, postgres_url, report
from worker.ledger.errors import LedgerMissingError, LedgerUnreachableError
from worker.ledger.sqlite import SqliteLedger
from worker.secret import Secret
from worker.settings import Settings
from worker.telemetry.redact import redact

PASSWORD = "hunter2-canary"


def settings_of(home: Path, **keys: Any) -> Settings:
    config = home / "config.json"
    config.write_text(json.dumps({"agent": "bob", "state_path": str(home / "state.json"), **keys}))
    config.chmod(0o600)
    return load(config)


def test_without_a_url_it_is_a_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert not configured.is_begun(settings)
    with closing(configured.open_ledger(settings)) as ledger:
        assert isinstance(ledger, SqliteLedger)
    assert configured.is_begun(settings)
    assert configured.name_of(settings) == str(settings.ledger_file)
    with configured.reading(settings) as db:
        assert report.lanes(db) == []


@pytest.mark.parametrize("where", ["file", "env", "config"])
def test_the_server_that_the_url_names(
    where: str, tmp_path: Path, postgres: Callable[[], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres().fresh("named")
    (tmp_path / "url").write_text(url + "\n")
    monkeypatch.setenv("LEDGER_OF_THE_TEST", url)
    key: dict[str, dict[str, str]] = {
        "file": {"ledger_url_file": str(tmp_path / "url")},
        "env": {"ledger_url_env": "LEDGER_OF_THE_TEST"},
        "config": {"ledger_url": url},
    }
    settings = settings_of(tmp_path, **key[where])
    with pytest.raises(LedgerMissingError, match="bus-watch run"), configured.reading(settings):
        pass
    with closing(configured.open_ledger(settings)) as ledger:
        ledger.write(lambda tx: tx.execute("insert into lanes (agent, transport) values ('a', 't')"))
    with configured.reading(settings) as db:
        assert [lane.agent for lane in report.lanes(db)] == ["a"]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            db.execute("delete from lanes")
    assert not settings.ledger_file.exists()


def test_a_url_file_that_is_changed_is_read_again(tmp_path: Path, postgres: Callable[[], Server]) -> None:
    file = tmp_path / "url"
    file.write_text(postgres().fresh("named"))
    with closing(configured.open_ledger(settings_of(tmp_path, ledger_url_file=str(file)))) as ledger:
        file.unlink()
        with pytest.raises(LedgerUnreachableError, match="URL file"):
            ledger.read(report.lanes)
        file.write_text(postgres().url("named"))
        assert ledger.read(report.lanes) == []


def test_without_the_driver_a_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path, ledger_url="postgresql://bus@localhost/x")
    for name in ("worker.ledger.postgres", "worker.ledger.postgres_url"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr("worker.ledger.postgres", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'bus-watch\[fleet\]'"):
        configured.open_ledger(settings)


def test_a_url_in_a_configuration_that_others_can_read_is_refused(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, ledger_url=f"postgresql://u:{PASSWORD}@localhost/x")
    settings.config_path.chmod(0o644)
    with pytest.raises(ConfigError, match="holds a URL and others can read it") as raised:
        configured.open_ledger(settings)
    assert PASSWORD not in str(raised.value)


def test_the_url_is_in_one_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ledger_url_file and ledger_url_env are both there"):
        settings_of(tmp_path, ledger_url_file="~/a", ledger_url_env="B")


@pytest.mark.parametrize(
    "url", [f"postgresql://u:{PASSWORD}@db.example/x?sslmode={mode}" for mode in ("prefer", "disable")]
)
def test_the_password_crosses_no_network_in_the_clear(url: str) -> None:
    with pytest.raises(ConfigError, match=r"in the clear to db\.example") as raised:
        postgres_url.parameters(Secret(url))
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    ("place", "environment", "expected"),
    [
        ("postgresql://u@db.example/x", {}, ("verify-full", "system")),
        ("postgresql://u@db.example/x?sslrootcert=/ca.pem", {}, ("verify-full", "/ca.pem")),
        ("postgresql://u@db.example/x?sslmode=require", {}, ("require", None)),
        ("postgresql://u@127.0.0.1/x", {}, (None, None)),
        ("postgresql://u@/x?host=/run/postgresql", {}, (None, None)),
        ("postgresql://u@/x", {}, (None, None)),
        ("postgresql://u@/x", {"PGHOST": "db.example"}, ("verify-full", "system")),
        ("postgresql://u@127.0.0.1,db.example/x", {}, ("verify-full", "system")),
        ("postgresql://u@localhost/x?hostaddr=192.0.2.1", {}, ("verify-full", "system")),
        ("postgresql:///x?service=far", {}, ("verify-full", "system")),
    ],
)
def test_what_is_asked_of_the_server(
    place: str, environment: dict[str, str], expected: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = postgres_url.parameters(Secret(place))
    assert (found.get("sslmode"), found.get("sslrootcert")) == expected


def test_the_password_is_shown_nowhere(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, ledger_url=f"postgresql://u:{PASSWORD}%2F@localhost:5433/x")
    assert configured.name_of(settings) == "postgresql://localhost:5433/x"
    assert PASSWORD not in repr(settings) + repr(settings.ledger_url_source)
    said = redact(f"a driver may say {PASSWORD}/ or {PASSWORD}%2F or postgresql://u:{PASSWORD}%2F@localhost:5433/x")
    assert PASSWORD not in said
