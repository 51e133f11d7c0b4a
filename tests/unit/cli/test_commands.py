"""The operator's commands on a ledger that has a delivery in every state."""

import contextlib
import re
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.cli.conftest import MS, STREAM, Desk
from worker.cli.main import COMMANDS, main
from worker.ledger.errors import LedgerCorruptError
from worker.ledger.sqlite import SqliteLedger

FIRST, SECOND = f"bob/{MS}-0", f"bob/{MS + 1}-0"


def test_queue(desk: Desk) -> None:
    found = desk.run("queue", "--json").json
    assert set(found) == {"counts", "lanes", "deliveries", "worker_running"}
    assert found["worker_running"] is True
    assert found["counts"] == {"running": 1, "waiting": 11, "retrying": 2, "held": 1, "dead": 1}
    why = {(d["transport"], d["key"]): (d["state"], d["words"]) for d in found["deliveries"]}
    assert why["runs", FIRST][0] == "running"
    assert why["runs", SECOND][1].startswith(f"behind {MS}-0, which runs since")
    assert why["retries", FIRST][0] == "retrying"
    assert why["retries", FIRST][1].endswith(": exit 1: can't find pane")
    assert why["breaks", FIRST][1].startswith("nobody there since")
    assert why["holds", FIRST] == ("held", "exit 76; retry it or drop it")
    assert why["dies", FIRST] == ("dead", "exit 65: no such pane")
    assert why["pauses", SECOND] == ("waiting", "paused: bus-watch resume pauses")
    assert why["orphan", FIRST][1].startswith("transport orphan is not configured any more")
    assert why["drops", SECOND] == ("waiting", "due now")
    assert all(d["words"] for d in found["deliveries"])
    lanes = {lane["transport"]: lane for lane in found["lanes"]}
    assert lanes["orphan"]["orphaned"] is True
    assert lanes["pauses"]["paused"] is True
    assert lanes["breaks"]["circuit_broken_since"]

    text = desk.run("queue").out
    assert text.startswith("1 running, 11 waiting, 2 retrying, 1 held, 1 dead\n")
    for _, words in why.values():
        assert re.split(r"\d", words)[0] in text, "up to a time, which goes on between two commands"
    limited = desk.run("queue", "-n", "1").out
    assert "... and" in limited


def test_show(desk: Desk) -> None:
    said = desk.run("show", FIRST, "--json")
    assert said.status == 0
    assert said.json["key"] == f"bob/{STREAM}/{MS}-0"
    assert said.json["text"] == "text 0\x1b[2J"
    deliveries = {d["transport"]: d for d in said.json["deliveries"]}
    assert deliveries["does"]["words"] == "done, in attempt 1"
    assert deliveries["drops"]["words"] == "dropped by a person"
    (attempt,) = deliveries["dies"]["attempts"]
    assert set(attempt) == {
        "attempt", "started_at", "ended_at", "seconds", "result", "output", "channel", "proof", "together",
        "host", "late",
    }  # fmt: skip
    assert attempt["result"] == "exit 65: no such pane"
    text = desk.run("show", f"{MS}-0").out
    assert "last words" in text
    assert "\x1b" not in text, "escapes of the bus or of a transport reach the terminal"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("nonsense", "is no message key"),
        (f"bob/{MS}-9", "no message bob/"),
        ("carol/1-0", "no message carol/1-0"),
        ("bob/9999999999999999999-0", "no message bob/"),
        ("bob/" + "9" * 5000 + "-0", "is no message key"),
        ("bob/\u0661-\u0662", "is no message key"),
        ("", "is no message key"),
    ],
)
@pytest.mark.parametrize("command", ["show", "retry", "drop"])
def test_keys_that_name_nothing(desk: Desk, command: str, key: str, words: str) -> None:
    said = desk.run(command, key)
    assert said.status == 1
    assert words in said.err
    assert said.out == ""


def test_history(desk: Desk) -> None:
    found = desk.run("history", "--json").json
    assert [row["key"] for row in found] == [SECOND, FIRST]
    assert set(found[0]) == {
        "key", "agent", "stream", "id", "source", "class", "state", "received_at", "received_seconds_ago",
        "finished_at", "first_line", "deliveries", "reasons", "ways", "together",
    }  # fmt: skip
    assert found[1]["deliveries"]["does"] == "succeeded"
    assert found[1]["reasons"]["retries"] == "exit 1: can't find pane"
    assert "does" not in found[1]["reasons"]
    assert len(desk.run("history", "-n", "1", "--json").json) == 1
    shown = desk.run("history").out
    assert FIRST in shown
    assert "\n    | " in shown
    assert "\n    retries: exit 1: can't find pane\n" in shown


def test_an_unknown_agent_is_a_mistake(desk: Desk) -> None:
    for command in ("history", "queue"):
        said = desk.run(command, "--agent", "bobb")
        assert said.status == 64
        assert "there is no agent 'bobb' (did you mean bob?)" in said.err


def test_history_is_narrowed(desk: Desk) -> None:
    def keys(*arguments: str) -> list[str]:
        return [row["key"] for row in desk.run("history", "--json", *arguments).json]

    everything = keys()
    assert keys("--agent", "bob") == everything
    assert keys("--state", "open") == everything
    assert keys("--state", "dead") == [FIRST]
    assert keys("--state", "delivered") == []
    source = desk.run("history", "--json").json[0]["source"]
    assert keys("--source", source) == everything
    assert keys("--source", "nobody") == []
    assert keys("--since", "1h") == everything
    assert keys("--since", "2999-01-01") == keys("--since", "2999-01-01T08:00+02:00") == []
    assert desk.run("history", "--since", "2999-01-01").out == "no such messages\n"
    assert "neither an age (90m, 24h) nor a date" in desk.run("history", "--since", "yesterday").err


def test_queue_of_one_agent(desk: Desk) -> None:
    whole = desk.run("queue", "--json").json
    assert desk.run("queue", "--json", "--agent", "bob").json["counts"] == whole["counts"]


def test_history_and_show_say_by_which_channel_it_went(desk: Desk) -> None:
    said = "queued %3 (codex 0.171.0) via codex: it waits behind a turn [codex's queue has it] (not opencode: other)"
    with closing(sqlite3.connect(desk.ledger)) as db, db:
        db.execute("update attempts set output = ? where result = 'exit 0'", (f"a warning\n{said}\n",))
    way = {"channel": "codex", "proof": "codex's queue has it"}
    assert desk.run("history", "--json").json[1]["ways"] == {"does": way}
    assert "does=succeeded by codex" in desk.run("history").out
    deliveries = {one["transport"]: one for one in desk.run("show", FIRST, "--json").json["deliveries"]}
    (attempt,) = deliveries["does"]["attempts"]
    assert {key: attempt[key] for key in way} == way
    assert ", by codex [codex's queue has it]" in desk.run("show", FIRST).out


def test_retry(desk: Desk) -> None:
    changes = desk.run("retry", FIRST, "--json").json
    words = {c["transport"]: (c["done"], c["words"]) for c in changes}
    assert words == {
        "does": (False, "is succeeded: nothing to retry"),
        "runs": (False, "is running: nothing to retry"),
        "retries": (True, "was retrying, is due now"),
        "breaks": (True, "was retrying, is due now"),
        "holds": (True, "was held, waits again"),
        "dies": (True, "was dead, waits again"),
        "drops": (True, "was cancelled, waits again"),
        "pauses": (False, "is waiting: nothing to retry"),
        "orphan": (False, "is waiting: nothing to retry"),
    }
    assert desk.run("retry", FIRST, "--transport", "does").status == 1
    assert desk.run("retry", "--dead").out == "nothing to do\n"


def test_retry_and_drop_all_dead_letters(desk: Desk) -> None:
    said = desk.run("retry", "--dead", "--transport", "dies")
    assert (said.status, said.out) == (0, f"{FIRST} dies: was dead, waits again\n")
    assert desk.run("queue", "--json").json["counts"]["dead"] == 0


@pytest.mark.parametrize(
    ("arguments", "done"),
    [
        (["retry", "--dead"], "was dead, waits again"),
        (["retry", FIRST, "--dead"], "was dead, waits again"),
        (["drop", "--dead"], "was dead, is cancelled"),
        (["drop", FIRST, "--dead"], "was dead, is cancelled"),
    ],
)
def test_dead_means_dead(desk: Desk, arguments: list[str], done: str) -> None:
    """Of a message with a delivery in every state, the dead one alone is touched."""

    def states() -> dict[str, tuple[str, str]]:
        return {d["transport"]: (d["state"], d["words"]) for d in desk.run("show", FIRST, "--json").json["deliveries"]}

    before = states()
    assert {"held", "cancelled", "waiting", "running", "retrying", "dead"} <= {state for state, _ in before.values()}
    said = desk.run(*arguments)
    assert (said.status, said.out) == (0, f"{FIRST} dies: {done}\n")
    after = states()
    assert {name for name in after if after[name][0] != before[name][0]} == {"dies"}
    assert not any("dropped when it ends" in words for _, words in after.values())
    assert desk.run(*arguments).out == "nothing to do\n"
    assert desk.run("retry", SECOND, "--dead").out == "nothing to do\n"


def test_drop(desk: Desk) -> None:
    words = {c["transport"]: c["words"] for c in desk.run("drop", FIRST, "--json").json}
    assert words["runs"] == "is running: cancelled when it ends, unless it succeeds"
    assert words["dies"] == "was dead, is cancelled"
    assert words["does"] == "is succeeded: nothing to drop"
    shown = desk.run("show", FIRST).out
    assert "dropped when it ends, unless it succeeds" in shown


def test_purge(desk: Desk) -> None:
    said = desk.run("purge", FIRST)
    assert (said.status, said.out) == (1, f"{FIRST}: is not over: drop it first\n")
    for transport in ("runs", "pauses", "orphan", "retries", "breaks", "holds", "dies"):
        desk.run("drop", FIRST, "--transport", transport)
    with contextlib.closing(sqlite3.connect(desk.ledger)) as ledger, ledger:  # what runs has ended meanwhile
        ledger.execute("update deliveries set state = 'cancelled' where state = 'running'")
        ledger.execute("update messages set state = 'failed', finished_at = 0 where id = 1")
    assert desk.run("purge", FIRST, "--dry-run").out == f"{FIRST}: is failed, would be forgotten\n"
    assert desk.run("purge", "--older-than", "1h", "--dry-run").out == "would forget 1 message(s): 1 failed\n"
    said = desk.run("purge", FIRST, "--json")
    assert said.json == {
        "dry_run": False,
        "purged": 1,
        "states": {"failed": 1},
        "messages": [{"key": FIRST, "state": "failed", "done": True, "words": "was failed, is forgotten"}],
    }
    said = desk.run("purge", FIRST)
    assert (said.status, said.err) == (
        1,
        f"bus-watch purge: no message {FIRST} in the ledger; see `bus-watch history`\n",
    )
    assert desk.run("purge", "--older-than", "1h").out == "nothing to do\n"
    assert desk.run("show", SECOND).status == 0


def test_naming_nothing_is_a_usage_error(desk: Desk) -> None:
    for command in ("retry", "drop"):
        said = desk.run(command)
        assert (said.status, said.out) == (64, "")
        assert said.err == "name messages, or say --dead\n"


@pytest.mark.parametrize("command", [("queue",), ("history",), ("run", "-w")])
def test_a_number_below_one_is_a_usage_error(desk: Desk, command: tuple[str, ...]) -> None:
    found = desk.run(*command, *([] if "-w" in command else ["-n"]), "-3")
    assert found.status == 64
    assert "1 or more" in found.err


def test_pause_and_resume(desk: Desk) -> None:
    assert desk.run("pause", "drops").out == "bob drops: paused: messages wait; what runs, finishes\n"
    assert desk.run("pause", "drops").out.endswith("(it was already)\n")
    assert "bob drops" in desk.run("status", "--json").json["paused"]
    assert desk.run("resume", "drops", "--json").json == [{"agent": "bob", "transport": "drops", "paused": False}]
    said = desk.run("pause", "nobody")
    assert said.status == 1
    assert said.err.startswith("no transport 'nobody' in the ledger; configured: ")


def test_status(desk: Desk) -> None:
    said = desk.run("status", "--json")
    found = said.json
    assert said.status == found["exit_status"] == 1
    assert found["agent"] == "bob"
    assert found["transports"][0] == "does"
    assert found["config_errors"] == []
    assert (found["running"], found["backlog"], found["dead"], found["held"]) == (True, 14, 1, 1)
    assert found["paused"] == ["bob pauses"]
    assert found["orphaned"] == ["bob orphan"]
    (agent,) = found["agents"]
    assert agent["bus"] == "unknown"
    problems = "\n".join(found["problems"])
    for part in ("nobody there since", "not configured any more", "1 held", "1 dead"):
        assert part in problems
    text = desk.run("status").out
    assert text.startswith("agent: bob\nproject: -\ntransport: does, ")
    assert "bridge_url: http://127.0.0.1:9\nstate_path: " in text
    assert "config_errors: none\nrunning: yes" in text


def test_status_before_anything_ran(empty_desk: Desk) -> None:
    said = empty_desk.run("status", "--json")
    assert said.status == 2
    assert said.json["agent"] == "bob"
    assert "there is no ledger" in said.json["problems"][0]
    for command in (["queue"], ["history"], ["show", "1-0"], ["ledger", "check"]):
        said = empty_desk.run(*command)
        assert (said.status, said.out) == (1, "")
        assert "there is no ledger at" in said.err


def test_status_without_a_configuration(empty_desk: Desk) -> None:
    empty_desk.config.unlink()
    said = empty_desk.run("status", "--json")
    assert said.status == 2
    assert "does not exist" in said.json["config_errors"][0]


@pytest.mark.parametrize("kept", [0, 4096])
def test_an_overwritten_ledger_is_told_with_what_to_do(desk: Desk, kept: int) -> None:
    """All of it, or all but its header."""
    for name in ("-wal", "-shm"):
        Path(f"{desk.ledger}{name}").unlink(missing_ok=True)
    whole = desk.ledger.read_bytes()
    desk.ledger.write_bytes(whole[:kept] + b"x" * (len(whole) - kept))
    said = desk.run("ledger", "check")
    assert said.status == 1
    words = " ".join(said.out.split())
    assert "put a backup in its place" in words
    assert "see `bus-watch ledger check`" not in words, "it would point to itself"
    assert said.out.splitlines()[-1].startswith("FAIL ")
    assert desk.run("ledger", "check", "--json").json["problems"]
    assert "put a backup in its place" in " ".join(desk.run("status").out.split())


def test_a_ledger_that_was_cut_off_is_no_first_start(desk: Desk) -> None:
    """SQLite takes a file of 0 bytes for a new one: the mail of 24 h would come again."""
    for name in ("-wal", "-shm"):
        Path(f"{desk.ledger}{name}").unlink(missing_ok=True)
    folder = desk.ledger.with_suffix(".d")
    folder.mkdir(exist_ok=True)
    (folder / "made").touch()
    desk.ledger.write_bytes(b"")
    assert "put a backup in its place" in " ".join(desk.run("status").out.split())
    with pytest.raises(LedgerCorruptError, match="something has cut it off"):
        SqliteLedger(desk.ledger)
    assert desk.ledger.stat().st_size == 0
    shutil.rmtree(folder)
    SqliteLedger(desk.ledger).close()  # without a trace of a worker it is a first start, killed at its first moment


def test_ledger_check_and_backup(desk: Desk, tmp_path: Path) -> None:
    said = desk.run("ledger", "check")
    assert (said.status, said.out.splitlines()[-1]) == (0, "OK ledger sound")
    copy = tmp_path / "copy.db"
    assert desk.run("ledger", "backup", str(copy)).status == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("select count(*) from messages").fetchone() == (2,)
    again = desk.run("ledger", "backup", str(copy))
    assert again.status == 1
    assert "exists" in again.err.lower()
    assert desk.run("ledger", "backup").status == 64


def test_ledger_check_finds_what_contradicts_itself(desk: Desk) -> None:
    with closing(sqlite3.connect(desk.ledger)) as db, db:
        db.execute("update messages set state = 'delivered'")
        db.execute(
            """
            update deliveries set state = 'running', companion = id
            where lane = (select lane from deliveries where state = 'running')
            """
        )
    said = desk.run("ledger", "check", "--json")
    assert said.status == 1
    problems = "\n".join(said.json["problems"])
    assert "2 finished message(s) with a delivery that is not final" in problems
    assert "1 lane(s) with more than one running attempt" in problems
    assert "running deliveries without an attempt" in problems
    assert desk.run("ledger", "check").out.splitlines()[-1] == "FAIL 3 problem(s)"


def test_a_damaged_ledger_is_a_sentence(desk: Desk) -> None:
    for suffix in ("", "-wal"):
        path = desk.ledger.with_name(desk.ledger.name + suffix)
        path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    for command in (["queue"], ["history"], ["show", FIRST], ["retry", FIRST], ["pause", "does"], ["ledger", "check"]):
        said = desk.run(*command)
        assert said.status == 1, command
        assert "ledger" in (said.out if command == ["ledger", "check"] else said.err)
    assert desk.run("status").status == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_configuration_that_is_no_json_is_a_sentence(empty_desk: Desk, command: str) -> None:
    needed = {
        "show": ["1-0"], "retry": ["1-0"], "drop": ["1-0"], "purge": ["1-0"], "pause": ["t"], "resume": ["t"],
        "ledger": ["check"], "agent": ["list"], "send": ["a", "hi"], "reply": ["hi"], "wait": ["1-0"],
        "hook": ["--to", "bob", "--secret-file", str(empty_desk.config)],
        "move": ["bob", "--to", "h2"],
    }.get(command, [])  # fmt: skip
    if command in {
        "install",
        "uninstall",
        "completion",
        "bus",
        "profile",
        "run-agent",
    }:  # they read no configuration to do their work
        return
    empty_desk.config.write_text("{")
    said = empty_desk.run(command, *needed)
    assert said.status in {1, 2}
    assert "not valid JSON" in said.out + said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["queue", "--nonsense"],
        ["show"],
        ["ledger"],
        ["ledger", "burn"],
        ["pause"],
        ["retry"],
        ["drop"],
        ["purge"],
        ["purge", "1-0", "--older-than", "1d"],
        ["purge", "--older-than", "soon"],
        ["completion", "fish"],
        ["run", "-w", "none"],
    ],
)
def test_usage_errors_exit_64(
    empty_desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """As the commands themselves do, which `tests/acceptance/test_commands.py` starts."""
    monkeypatch.setenv("BUS_WATCH_CONFIG", str(empty_desk.config))
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    said = capsys.readouterr()
    assert (status, said.out) == (64, "")
    assert said.err
