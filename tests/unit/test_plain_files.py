"""What stands where a file should: said at once, by whoever reads it, and never waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.configuration import load
from worker.credentials import TokenSource
from worker.errors import ConfigError, TokenError
from worker.plain_files import read_plain

Make = Callable[[Path], object]


NO_FILES: dict[str, tuple[Make, str]] = {
    "fifo": (os.mkfifo, "FIFO"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "folder": (Path.mkdir, "Is a directory"),
}


@pytest.fixture(params=NO_FILES)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    make, says = NO_FILES[request.param]
    path = tmp_path / "odd"
    make(path)
    return path, says


def test_a_configuration_that_is_no_file_is_refused(odd: tuple[Path, str]) -> None:
    with pytest.raises(ConfigError, match=odd[1]):
        load(odd[0])


def test_a_token_file_that_is_no_file_is_refused(odd: tuple[Path, str]) -> None:
    with pytest.raises(TokenError, match=odd[1]):
        TokenSource("bob", file=str(odd[0])).read()


def test_nothing_is_left_open(odd: tuple[Path, str]) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match=odd[1]):
            read_plain(odd[0], 10)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_an_endless_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        load(path)


def test_a_token_that_an_editor_marked_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xef\xbb\xbfabc\r\n")
    assert TokenSource("bob", file=str(path)).read().reveal() == "abc"


def test_a_key_of_a_transport_outside_of_one_says_where_it_belongs(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"agent": "bob", "expires_after": "1h"}')
    with pytest.raises(ConfigError, match="'expires_after' here: it belongs into a transport"):
        load(path)


def test_a_place_that_the_locale_cannot_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"agent": "bob", "token_env": "T", "state_path": "/tmp/\u00f6/state.json"}')
    monkeypatch.setattr(os, "fsencode", lambda name: str(name).encode("ascii"))
    with pytest.raises(ConfigError, match=r"LC_ALL=C\.UTF-8"):
        load(path)
