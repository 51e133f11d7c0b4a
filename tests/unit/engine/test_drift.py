"""An agent's screen that its profile does not explain is counted by agent and version, and no word of it is kept."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from tests.world.engine import running
from worker.engine.drift import unexplained
from worker.ledger import drift
from worker.terminal.command import look_command, report
from worker.terminal.submit import Outcome

NOBOX = "unknown: the codex profile finds no input box at the cursor"
OPTIONS = Namespace(agent="", socket_name="", socket_path="/tmp/x y/sock")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("host", ["", "far.example"])
@pytest.mark.parametrize(
    ("verdict", "reason", "version", "found"),
    [
        ("deferred", NOBOX, "0.172.0", ("codex", "0.172.0")),
        ("deferred", NOBOX, "0.171.0", ("codex", "0.171.0")),
        ("deferred", NOBOX, "", ("codex", "")),
        ("unproven", "it was pasted, then our text was not seen in the input box (unknown)", "1", ("codex", "1")),
        ("deferred", "draft: there is text in the input box", "0.172.0", None),
        ("deferred", "unknown: the program is still loading", "0.172.0", None),
        ("deferred", "dialog: unknown: (codex 3): unknown: x", "0.172.0", None),
    ],
)
def test_what_send_message_prints_is_read(
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
    host: str,
    verdict: str,
    reason: str,
    version: str,
    found: tuple[str, str] | None,
) -> None:
    outcome = Outcome(verdict, reason, agent="codex", pane="%3", host=host, version=version, measured="0.171.0")
    report(outcome, as_json=as_json, look=look_command(OPTIONS, host, "%3"))
    said = capsys.readouterr()
    assert unexplained("a warning\n" + said.out + said.err) == ([(*found, False)] if found else [])


@pytest.mark.parametrize(
    "output", ["", "{", "[1]", '{"agent": 3}', json.dumps({"verdict": "deferred", "agent": "x\x1b", "reason": NOBOX})]
)
def test_other_output_is_nothing(output: str) -> None:
    assert unexplained(output) == []


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("passed", "found"),
    [
        (("codex: not as measured: its server lists threads in a way that is not known",), ("codex", "0.172.0", True)),
        (("type: draft", "codex: not as measured: (x) [y]"), ("codex", "0.172.0", True)),
        (("codex: 2 codex run: which is whose is not certain",), None),
        (("codex: the server says not as measured: x",), None),
        ((), None),
    ],
)
@pytest.mark.parametrize("verdict", ["submitted", "refused"])
def test_a_channel_that_was_not_as_measured(
    capsys: pytest.CaptureFixture[str], as_json: bool, verdict: str, passed: tuple[str, ...], found: object
) -> None:
    outcome = Outcome(verdict, "its record has it", agent="codex", pane="%3", version="0.172.0", passed=passed)
    outcome.proof = "record /home/x/rollout (not ours).jsonl"
    report(outcome, as_json=as_json, look=look_command(OPTIONS, "", "%3"))
    said = capsys.readouterr()
    assert unexplained(said.out + said.err) == ([found] if found else [])


def test_the_worker_counts_channels_apart(tmp_path: Path) -> None:
    said = "submitted %3 (codex 0.172.0): the record has it [record /r] (not codex: not as measured: no cwd)"
    with running(tmp_path, script=f"echo '{said}'; exit 0") as rig:
        rig.take()
        rig.run()
        (one,) = rig.engine.db.read(drift.channels)
        assert rig.engine.db.read(drift.screens) == []
    assert (one.ui, one.version, one.times) == ("codex", "0.172.0", 1)


def test_the_worker_counts_it(tmp_path: Path) -> None:
    said = f"deferred %3 (codex 0.172.0, measured on 0.171.0): {NOBOX}; send-message --look -t %3 says more"
    with running(tmp_path, script=f"echo '{said}' >&2; exit 75") as rig:
        seen: list[tuple[str, str]] = []
        rig.engine.observer.unknown_screen = lambda ui, version: seen.append((ui, version))  # type: ignore[method-assign]
        rig.take()
        rig.run()
        rig.pass_time(30.0)
        (one,) = rig.engine.db.read(drift.screens)
    assert (one.ui, one.version) == ("codex", "0.172.0")
    assert one.times == len(seen) > 1
    assert one.last_at > one.first_at


def test_made_up_versions_do_not_fill_the_ledger(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        for number in range(200):
            rig.engine.db.write(lambda tx, n=number: drift.note(tx, "x", f"1.{n}", float(n)))  # type: ignore[misc]
        kept = rig.engine.db.read(drift.screens)
    assert [one.version for one in kept] == [f"1.{n}" for n in range(199, 149, -1)]
