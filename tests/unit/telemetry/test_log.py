"""The log's two formats, where it goes, and what never gets in."""

import io
import json
import logging
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huey.consumer_options import ConsumerConfig

from worker.errors import ConfigError
from worker.secret import Secret
from worker.settings import AgentSettings, Settings
from worker.telemetry import log

TOKEN = "log-canary-token-77"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root, huey = logging.getLogger(), logging.getLogger("huey")
    before = root.handlers[:], root.level, huey.handlers[:], huey.level, sys.excepthook, threading.excepthook
    root.handlers[:] = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level, huey.handlers[:], huey.level = before[0], before[1], before[2], before[3]
    sys.excepthook, threading.excepthook = before[4], before[5]
    logging.captureWarnings(False)
    root.setLevel(before[1])
    huey.setLevel(before[3])


def settings(**more: Any) -> Settings:
    return Settings(agents=(AgentSettings(agent="bob", token_env="T"),), **more)


def written(monkeypatch: pytest.MonkeyPatch, **more: Any) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.configure(settings(), **more)
    return stream


def test_a_json_line_has_time_level_logger_message_and_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, log_format="json")
    logging.getLogger("bus_watch.deliver").warning(
        "attempt %d\nfailed", 2, extra={"agent": "bob", "delivery": 7, "attempt": 2, "text": "the message's text"}
    )
    line = json.loads(out.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "WARNING",
        "logger": "bus_watch.deliver",
        "message": "attempt 2\nfailed",
        "agent": "bob",
        "delivery": 7,
        "attempt": 2,
    }


def test_a_text_line_is_one_line_with_time_and_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch)
    logging.getLogger("bus_watch.poll").info("a\n\x1b[31mfake line", extra={"agent": "bob", "message_id": "1-0"})
    text = out.getvalue()
    assert text.count("\n") == 1
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} INFO poll: a\\n\\x1b\[31mfake line agent=bob message_id=1-0\n",
        text,
    )


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_token_gets_into_a_line(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    Secret(TOKEN)
    out = written(monkeypatch, log_format=log_format)
    try:
        json.loads(f"refused: Bearer {TOKEN}")
    except ValueError as error:
        error.add_note(TOKEN)
        logging.getLogger("bus_watch.x").exception("with %s", TOKEN, extra={"agent": TOKEN}, stack_info=True)
    assert "JSONDecodeError" in out.getvalue()
    assert TOKEN not in out.getvalue()


def test_journald_gets_priorities_and_no_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        log.configure(settings(), verbose=True)
        logger = logging.getLogger("bus_watch.x")
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(logger, level)("words")
        try:
            Path("two\nlines").read_text()
        except OSError:
            logger.exception("bad")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines[:5] == [
        "<7>DEBUG x: words",
        "<6>INFO x: words",
        "<4>WARNING x: words",
        "<3>ERROR x: words",
        "<2>CRITICAL x: words",
    ]
    assert lines[5] == "<3>ERROR x: bad"
    assert len(lines) > 7
    assert all(line.startswith("<3>    ") for line in lines[6:])


def test_another_stream_of_the_same_environment_is_no_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with (tmp_path / "file").open("w") as stream:
        assert not log.goes_to_journal(stream)


def test_the_log_file_is_private_and_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FILE_BYTES", 400)
    path = tmp_path / "logs" / "worker.log"
    log.configure(settings(log_file=str(path)))
    for number in range(20):
        logging.getLogger("bus_watch.x").warning("line %d of a file that is full soon", number)
    files = sorted(path.parent.iterdir())
    assert len(files) > 2
    assert len(files) <= log.FILES_KEPT + 1
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert "line 19 " in path.read_text()
    assert all(file.stat().st_size <= 400 for file in files)


def test_a_file_that_was_rotated_by_somebody_else_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    log.configure(settings(log_file=str(path)))
    logging.getLogger("bus_watch.x").warning("one")
    path.rename(tmp_path / "worker.log.1")
    logging.getLogger("bus_watch.x").warning("two")
    assert "two" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"log_file .*/file/log: "):
        log.configure(settings(log_file=str(tmp_path / "file" / "log")))


def test_a_line_that_cannot_be_logged_shows_no_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(settings())
    logging.getLogger("bus_watch.x").warning("%d", TOKEN)
    shown = capsys.readouterr().err
    assert shown == "bus-watch: a WARNING line of bus_watch.x could not be logged: TypeError\n"


def test_libraries_stay_quiet_even_when_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, verbose=True)
    logging.getLogger("httpcore.http11").debug("headers")
    logging.getLogger("httpx").info("HTTP Request: GET http://...")
    logging.getLogger("huey").debug("told when verbose")
    assert "told when verbose" in out.getvalue()
    assert out.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "ours", "hueys"),
    [
        ({}, logging.INFO, logging.WARNING),
        ({"verbose": True}, logging.DEBUG, logging.DEBUG),
        ({"verbose": False}, logging.WARNING, logging.WARNING),
    ],
)
def test_under_huey_consumer_its_flags_decide_and_no_line_comes_twice(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], ours: int, hueys: int
) -> None:
    out = written(monkeypatch)
    huey = logging.getLogger("huey")
    ConsumerConfig(**flags).setup_logger(huey)
    log.adopt_consumer_flags()
    assert logging.getLogger("bus_watch.x").getEffectiveLevel() == ours
    assert huey.getEffectiveLevel() == hueys
    logging.getLogger("huey.consumer").warning("once")
    assert out.getvalue().count("once") == 1


def test_the_consumers_log_file_is_ours_with_our_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch)
    path = tmp_path / "huey.log"
    ConsumerConfig(logfile=str(path)).setup_logger(logging.getLogger("huey"))
    log.adopt_consumer_flags()
    logging.getLogger("bus_watch.x").warning("here", extra={"agent": "bob"})
    assert path.read_text().endswith(" WARNING x: here agent=bob\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert out.getvalue() == ""


def test_what_ends_a_thread_is_logged_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    Secret(TOKEN)
    out = written(monkeypatch)

    def fail() -> None:
        raise RuntimeError(TOKEN)

    thread = threading.Thread(target=fail, name="doomed")
    thread.start()
    thread.join()
    assert "CRITICAL log: the thread doomed has a fault" in out.getvalue()
    assert TOKEN not in out.getvalue()
