"""What the bus says about a message reaches no terminal as it came: neither an escape nor a line of its own."""

import sqlite3
from contextlib import closing

import pytest

from tests.unit.cli.conftest import MS, Desk

EVIL = "a\x1b[2Jb\x07c\u202ed\x9be\nstate: succeeded\rkey: none"
FIELDS = ("source", "project", "sent_at")


@pytest.mark.parametrize("command", [("show", f"{MS}-0"), ("history",), ("queue",)])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_no_field_reaches_the_terminal_as_it_came(desk: Desk, command: tuple[str, ...], more: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(desk.ledger)) as db, db:
        db.execute("update messages set source = :evil, project = :evil, sent_at = :evil", {"evil": EVIL})
        db.execute("update deliveries set reason = :evil", {"evil": EVIL})
    said = desk.run(*command, *more)
    assert said.status == 0, said.err
    assert [c for c in said.out if not c.isprintable() and c != "\n"] == []
    assert not any(line.lstrip().startswith(("state: succeeded", "key: none")) for line in said.out.splitlines())
    if more and command[0] == "show":
        assert [said.json[field] for field in FIELDS] == [EVIL] * 3, "a script gets what was sent"


def test_the_stream_and_the_id_are_shown_on_one_line(desk: Desk) -> None:
    with closing(sqlite3.connect(desk.ledger)) as db, db:
        db.execute("pragma ignore_check_constraints = on")
        db.execute("update messages set stream = ?", (EVIL,))
    lines = desk.run("show", f"{MS}-0").out.splitlines()
    assert lines[0].startswith("key: bob/a [2Jb c d e state: succeeded key: none/")
    assert sum(line.startswith("state:") for line in lines) == 1


@pytest.mark.parametrize("where", ["token_env", "token_file"])
@pytest.mark.parametrize("token", ["sk_live_4f3c2b1a09", "sk-4f3c2b1a09", "AKIA4F3C2B1A09"])
def test_a_token_in_the_wrong_place_is_not_printed(empty_desk: Desk, where: str, token: str) -> None:
    text = empty_desk.config.read_text()
    empty_desk.config.write_text(text.replace('"token_env": "NO_SUCH_TOKEN"', f'"{where}": "{token}"'))
    for command in (("doctor", "--offline"), ("status",), ("run", "--once"), ("test-send",), ("install", "--systemd")):
        said = empty_desk.run(*command)
        assert said.status != 0 or command[0] == "install", command
        assert token not in said.out + said.err, command


def test_doctor_says_that_ps_shows_a_text_in_argv(empty_desk: Desk) -> None:
    assert '"stdin": true' not in empty_desk.run("doctor", "--offline").out
    text = empty_desk.config.read_text()
    empty_desk.config.write_text(text.replace('["/bin/true"]}', '["/bin/true", "{text}"]}'))
    said = empty_desk.run("doctor", "--offline").out
    assert "note transport does of bob: every user of this machine sees {text} in ps" in said
    assert '"stdin": true' in said
