"""An agent's own record: only what is appended counts, and what cannot be read proves nothing."""

import json
import os
import re
import sqlite3
from pathlib import Path

import pytest

from worker.terminal import transcript
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.profiles import Entry, Record
from worker.terminal.transcript import Surroundings, Watch, expand


def _record(name: str) -> Record:
    found = load(name, [SHIPPED]).record
    assert found is not None
    return found


def _claude(home: Path) -> tuple[Path, Surroundings]:
    directory = home / ".claude/projects/-work-my-app"
    directory.mkdir(parents=True)
    return directory, Surroundings(str(home), "/work/my.app", {})


def _user(text: object) -> str:
    return json.dumps({"type": "user", "message": {"role": "user", "content": text}}) + "\n"


def test_only_what_is_appended_counts(tmp_path: Path) -> None:
    directory, where = _claude(tmp_path)
    file = directory / "1.jsonl"
    file.write_text(_user("hello"))
    watch = Watch(_record("claude"), where, "hello")
    assert watch.available
    assert watch.look() is None
    with file.open("a") as appended:
        appended.write(_user("other") + _user([{"type": "text", "text": "hel"}])[:-1])
    assert watch.look() is None
    with file.open("a") as appended:
        appended.write("\n" + _user([{"type": "text", "text": "hello"}, {"type": "image"}]))
    assert watch.look() == transcript.Proof("submitted", str(file))


def test_a_new_file_and_a_queue(tmp_path: Path) -> None:
    directory, where = _claude(tmp_path)
    watch = Watch(_record("claude"), where, "two\nlines")
    assert not watch.available
    entry = {"type": "queue-operation", "operation": "enqueue", "content": "two\nlines"}
    (directory / "new.jsonl").write_text(json.dumps(entry) + "\n")
    assert watch.look() == transcript.Proof("queued", str(directory / "new.jsonl"))


@pytest.mark.parametrize(
    ("said", "proven", "mixed"),
    [
        ("first\n\nours one\nours two\n\nlast", True, False),
        ("draft ours one\nours two", False, True),
        ("ours one", False, False),
        ("  ours one\n      ours two ", True, False),
    ],
)
def test_alone_or_as_whole_lines(tmp_path: Path, said: str, proven: bool, mixed: bool) -> None:
    directory, where = _claude(tmp_path)
    watch = Watch(_record("claude"), where, "ours one\n\tours two")
    (directory / "1.jsonl").write_text(_user(said))
    assert (watch.look() is not None) == proven
    assert watch.mixed == mixed


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '{"type": "user"}', '{"type":"user","message":3}', "[" * 100_000, "\xff"]
)
def test_broken_lines_prove_nothing(tmp_path: Path, line: str) -> None:
    directory, where = _claude(tmp_path)
    watch = Watch(_record("claude"), where, "hello")
    (directory / "1.jsonl").write_bytes(line.encode("latin-1") + b"\n" + _user("hello").encode())
    assert watch.look() is not None


def test_where_records_lie() -> None:
    where = Surroundings("/home/a[b]", "/x", {"CODEX_HOME": "/codex"})
    assert expand("{env:CODEX_HOME|{home}/.codex}/s/*", where) == "/codex/s/*"
    assert expand("{env:OTHER|{home}/.codex}/s/*", where) == "/home/a[[]b]/.codex/s/*"
    assert Watch(_record("codex"), Surroundings("", "/x", {}), "x").look() is None


def test_opencodes_database_is_read_only(tmp_path: Path) -> None:
    directory = tmp_path / ".local/share/opencode"
    directory.mkdir(parents=True)
    database = sqlite3.connect(directory / "opencode.db")
    database.executescript(
        "pragma journal_mode=wal; create table message(id, data); create table part(message_id, data, time_created);"
        """insert into message values (1, '{"role":"user"}'), (2, '{"role":"assistant"}');"""
        """insert into part values (1, '{"type":"text","text":"hello"}', 5);"""
    )
    database.commit()
    watch = Watch(_record("opencode"), Surroundings(str(tmp_path), "/", {}), "hello")
    assert watch.look() is None, "an old entry"
    database.execute("insert into part values (2, ?, 1e15)", ['{"type":"text","text":"hello"}'])
    database.commit()
    assert watch.look() is None, "the assistant's words"
    database.execute("insert into part values (1, ?, 1e15)", ['{"type":"text","text":"hello"}'])
    database.commit()
    assert watch.look() is not None
    database.execute("drop table part")
    database.commit()
    assert watch.look() is None, "a format that we do not know"
    database.close()


def test_surroundings_are_the_processes_own() -> None:
    where = transcript.surroundings(os.getpid(), lambda: "/guess")
    assert where.directory == str(Path.cwd())
    assert transcript.surroundings(2**30, lambda: "/guess").directory == "/guess"


def test_claudes_pasted_content_is_our_text(tmp_path: Path) -> None:
    """Claude Code 2.1.332 writes pastes of four lines or more so, into its record as to its model."""
    text = "[a:b -> c:d] one\ntwo\nthree\nfour"
    path = tmp_path / "r.jsonl"
    path.write_text("")
    record = Record(paths=(str(path),), entries=(Entry(where={"type": "user"}, text="content"),))
    watch = Watch(record, Surroundings("/h", "/", {}), text)
    wrapped = f'\n\n<pasted_content id="3b11">\n{text}\n</pasted_content id="3b11">\n'
    path.write_text(json.dumps({"type": "user", "content": wrapped}) + "\n")
    found = watch.look()
    assert found is not None
    assert found.verdict == "submitted"


def test_the_error_behind_a_prompt_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("")
    entries, errors = (Entry(where={"type": "user"}, text="content"),), (Entry(where={"bad": True}, text="content"),)
    record = Record(paths=(str(path),), entries=entries, errors=errors)
    watch = Watch(record, Surroundings("/h", "/", {}), "hello")
    lines = [
        {"bad": True, "content": "old"},
        {"type": "user", "content": "hello"},
        {"bad": True, "content": "no login"},
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    found = watch.look()
    assert found is not None
    assert watch.error(found.path) == "no login"
    assert Watch(record, Surroundings("/h", "/", {}), "hello").was_failing
    assert not watch.was_failing


CLINE = Record(
    format="json",
    paths=("{home}/*.json",),
    items="messages",
    wrapper=re.compile(r'(?s)<user_input mode="\w+">\n?(?P<text>.*?)\n?</user_input>'),
    entries=(Entry(where={"role": "user"}, text="content"),),
)


def _document(*texts: str) -> str:
    said = [
        {"role": "user", "content": [{"type": "text", "text": f'<user_input mode="act">{t}</user_input>'}]}
        for t in texts
    ]
    return json.dumps({"version": 1, "messages": [{"role": "assistant", "content": "hello"}, *said]})


def test_one_document_that_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "1.json"
    file.write_text(_document("hello"))
    watch = Watch(CLINE, Surroundings(str(tmp_path), "/", {}), "hello")
    assert watch.available
    for content in (_document("hello"), _document("hello", "other"), _document("hello")[:-5], "[]", '{"messages": 3}'):
        file.write_text(content)
        assert watch.look() is None, content
    file.write_text(_document("hello", "other", "hello"))
    assert watch.look() == transcript.Proof("submitted", str(file))


def test_a_new_document_and_one_with_other_words(tmp_path: Path) -> None:
    watch = Watch(CLINE, Surroundings(str(tmp_path), "/", {}), "two\nlines")
    (tmp_path / "2.json").write_text(_document("draft two\nlines"))
    assert watch.look() is None
    assert watch.mixed
    (tmp_path / "2.json").write_text(_document("draft two\nlines", "two\nlines"))
    assert watch.look() == transcript.Proof("submitted", str(tmp_path / "2.json"))


def test_a_string_a_line(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text(json.dumps("two\nlines") + "\n")
    watch = Watch(
        Record(format="strings", paths=("{home}/history",)), Surroundings(str(tmp_path), "/", {}), "two\nlines"
    )
    for line in (json.dumps("other"), json.dumps({"text": "two\nlines"}), '"two'):
        with file.open("a") as appended:
            appended.write(line + "\n")
        assert watch.look() is None
    with file.open("a") as appended:
        appended.write(json.dumps("two\nlines") + "\n")
    assert watch.look() == transcript.Proof("submitted", str(file))
