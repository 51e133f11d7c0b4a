"""Where a token comes from, and that it shows itself nowhere."""

import copy
import json
import pickle
from pathlib import Path

import pytest

from worker.credentials import TokenSource
from worker.errors import TokenError
from worker.secret import Secret

CANARY = "canary-4f2a9c"


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret(CANARY)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", f"{[secret]}", "%s" % secret]  # noqa: UP031 - one of the ways in which it must not leak
    assert not any(CANARY in one for one in shown)
    assert secret.reveal() == CANARY
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps({"token": secret})
    with pytest.raises(TypeError):
        copy.copy(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_value_and_with_nothing_else() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("ü") != Secret("u")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")


def test_a_rotated_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"  {CANARY}\n")
    source = TokenSource("bob", file=str(path))
    assert source.read().reveal() == CANARY
    assert CANARY not in repr(source)
    path.write_text("another\n")
    assert source.read().reveal() == "another"
    new = tmp_path / "new"
    new.write_text("rotated\n")
    new.rename(path)
    assert source.read().reveal() == "rotated"
    path.unlink()
    with pytest.raises(TokenError, match="No such file"):
        source.read()


@pytest.mark.parametrize("content", ["", "  \n", "two words", "two\nlines", "ümlaut", "nul\0", "\x1b[2J"])
def test_what_is_no_token_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(TokenError) as raised:
        TokenSource("bob", file=str(path)).read()
    assert str(path) in str(raised.value)
    assert not content.strip() or content not in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="Is a directory"):
        TokenSource("bob", file=str(tmp_path)).read()
    with pytest.raises(TokenError, match="no token; give one of token_file, token_env"):
        TokenSource("bob").read()


def test_paths_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(CANARY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TokenSource("bob", file="~/token").read().reveal() == CANARY
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert TokenSource("bob", file="$CREDENTIALS_DIRECTORY/token").read().reveal() == CANARY


def test_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOBS_TOKEN", CANARY)
    source = TokenSource("bob", variable="BOBS_TOKEN")
    assert source.read().reveal() == CANARY
    monkeypatch.delenv("BOBS_TOKEN")
    with pytest.raises(TokenError, match="BOBS_TOKEN holds no token"):
        source.read()


def test_a_token_in_the_configuration_wants_it_private(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    source = TokenSource("bob", literal=Secret(CANARY), config=config)
    config.chmod(0o644)
    with pytest.raises(TokenError, match="chmod 600"):
        source.read()
    config.chmod(0o600)
    assert source.read().reveal() == CANARY
