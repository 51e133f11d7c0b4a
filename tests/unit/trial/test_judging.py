"""How the trial judges: it must see every way in which a message can go wrong."""

import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

import pytest

from ops.trial import main
from ops.trial.cases import Message
from ops.trial.kept import FOLDER, PAGE, keep, newest, page, table
from ops.trial.looks import Look
from ops.trial.plan import QUICK, quick
from ops.trial.results import Row, line, row
from ops.trial.sending import Outcome
from ops.trial.truth import Found, Truth
from ops.trial.uis import UIS

SENT = "M00000001Z hello\n  world"


def truth(path: Path, *requests: list[str], ui: str = "codex") -> Truth:
    """A log of requests, each with what was new in it; the markers of all before it are repeated, as UIs do."""
    markers: list[str] = []
    lines = []
    for new in requests:
        markers += [word for text in new for word in text.split() if word.startswith("M0000")]
        lines.append(json.dumps({"main": True, "new": new, "markers": list(markers)}) + "\n")
    (path / "log").write_text("".join(lines))
    made = Truth(path / "log", UIS[ui])
    made.refresh()
    return made


def found(log: Truth, marker: str, expected: str, *also: str, since: int = 0) -> Found:
    return log.found(Message(marker, expected, expected, also), since)


def test_once_and_whole(tmp_path: Path) -> None:
    seen = found(truth(tmp_path, [SENT], ["M00000002Z next"]), "M00000001Z", SENT)
    assert (seen.times, seen.intact) == (1, True)


def test_twice(tmp_path: Path) -> None:
    assert found(truth(tmp_path, [SENT], [SENT]), "M00000001Z", SENT).times == 2


@pytest.mark.parametrize("got", ["M00000001Z hello", "M00000001Z hello\n world", f"draft {SENT}", f"{SENT} x"])
def test_changed(tmp_path: Path, got: str) -> None:
    assert not found(truth(tmp_path, [got]), "M00000001Z", SENT).intact


def test_not_at_all(tmp_path: Path) -> None:
    seen = found(truth(tmp_path, ["something else"]), "M00000001Z", SENT)
    assert (seen.times, seen.intact) == (0, False)


def test_a_conversation_that_was_emptied_between_two_messages(tmp_path: Path) -> None:
    before, after = (Message(f"M0000000{n}Z", f"M0000000{n}Z hello", f"M0000000{n}Z hello") for n in (1, 2))
    log = truth(tmp_path, [before.text], ["> /clear"], [after.text])
    assert log.together(before, after)
    emptied = json.dumps({"main": True, "new": [after.text], "markers": [after.marker]})
    log.log.write_text(log.log.read_text().splitlines()[0] + "\n" + emptied + "\n")
    log = Truth(log.log, UIS["codex"])
    assert not log.together(before, after)


def test_a_file_that_came_with_a_message_is_seen(tmp_path: Path) -> None:
    log = truth(tmp_path, [SENT], [SENT])
    for handed, files in ((False, ["F00000002Z"]), (True, ["F00000001Z"])):
        log.requests[0]["files"], log.requests[1]["files"] = [], files
        assert log.handed_over(["F00000001Z"]) is handed


def test_joined_with_other_messages_by_a_blank_line(tmp_path: Path) -> None:
    log = truth(tmp_path, [f"{SENT}\n\nM00000002Z other"])
    assert found(log, "M00000001Z", SENT).intact
    assert log.strays([SENT, "M00000002Z other"]) == []


def test_the_rest_of_a_split_message_is_a_stray(tmp_path: Path) -> None:
    strays = truth(tmp_path, ["M00000001Z hello"], ["  world"]).strays([SENT])
    assert set(strays) == {"M00000001Z hello", "  world"}


def test_what_the_ui_says_itself_is_no_stray(tmp_path: Path) -> None:
    assert truth(tmp_path, ["<environment_context>\n</environment_context>", SENT]).strays([SENT]) == []


@pytest.mark.parametrize(
    ("ui", "got", "sent", "intact"),
    [
        ("claude", "M00000001Z a    b", "M00000001Z a\tb", True),
        ("codex", "M00000001Z a    b", "M00000001Z a\tb", False),
        ("codex", "> /M00000001Z", "/M00000001Z", True),
        ("codex", "> exit M00000001Z", "exit M00000001Z", True),
        ("codex", "> M00000001Z", "M00000001Z", False),
        ("codex", "M00000001Z @x .", "M00000001Z @x", False),
        ("gemini", "M00000001Z @x .", "M00000001Z @x", True),
        ("qwen", "M00000001Z a @b.example", "M00000001Z a@b.example", True),
        ("codex", "M00000001Z a @b.example", "M00000001Z a@b.example", False),
    ],
)
def test_only_the_documented_changes_are_allowed(tmp_path: Path, ui: str, got: str, sent: str, *, intact: bool) -> None:
    assert found(truth(tmp_path, [got], ui=ui), "M00000001Z", sent).intact == intact


def test_an_image_may_take_the_place_of_its_path(tmp_path: Path) -> None:
    log = truth(tmp_path, ["M00000001Z see [Image #3]"])
    assert found(log, "M00000001Z", "M00000001Z see /a.png", "M00000001Z see [Image #1]").intact
    assert not found(log, "M00000001Z", "M00000001Z see /a.png").intact
    assert log.strays(["M00000001Z see [Image #1]"]) == []


def test_a_text_without_a_marker_counts_only_as_the_whole_of_what_was_said_after_it_was_sent(tmp_path: Path) -> None:
    log = truth(tmp_path, ["/clear"], ["/clear and more"], ["> /clear"])
    assert found(log, "", "/clear", since=1).times == 1
    assert found(log, "", "/clear").times == 2
    assert found(log, "", "/clear", since=3) == Found(0, intact=False, seen="")


def outcome(verdict: str, times: int, *, intact: bool = True, wanted: str = "once") -> Outcome:
    return Outcome("text", verdict, 0, 1.0, 1, "screen", times=times, intact=intact and times > 0, wanted=wanted)


@pytest.mark.parametrize(
    ("verdict", "times", "intact", "agrees"),
    [
        ("submitted", 1, True, True),
        ("queued", 1, True, True),
        ("submitted", 0, True, False),
        ("submitted", 2, True, False),
        ("submitted", 1, False, False),
        ("deferred", 0, True, True),
        ("deferred", 1, True, False),
        ("refused", 1, True, False),
        ("exit 1", 0, True, False),
    ],
)
def test_a_verdict_is_true_or_false(verdict: str, times: int, *, intact: bool, agrees: bool) -> None:
    assert outcome(verdict, times, intact=intact).agrees == agrees


@pytest.mark.parametrize(
    ("wanted", "verdict", "times", "good"),
    [
        ("once", "submitted", 1, True),
        ("once", "deferred", 0, False),
        ("once", "unproven", 1, False),
        ("withheld", "deferred", 0, True),
        ("withheld", "submitted", 1, False),
        ("withheld", "unproven", 0, False),
        ("either", "deferred", 0, True),
        ("either", "unproven", 1, True),
        ("either", "unproven", 2, False),
        ("either", "deferred", 1, False),
    ],
)
def test_an_outcome_is_good_if_what_was_wanted_happened_and_was_said(
    wanted: str, verdict: str, times: int, *, good: bool
) -> None:
    assert outcome(verdict, times, wanted=wanted).good == good


def test_a_round_is_good_only_if_each_of_its_messages_is() -> None:
    ui = UIS["codex"]
    right, deferred = outcome("submitted", 1), outcome("deferred", 0, wanted="withheld")
    assert row(ui, "draft", [right, deferred]).good
    assert not row(ui, "short", [right, outcome("unproven", 1)]).good
    assert not row(ui, "short", [right, outcome("submitted", 0)]).good
    assert not row(ui, "draft", [deferred], broken="the draft was changed").good
    assert not row(ui, "draft", []).good


def test_a_row_says_how_long_its_round_took() -> None:
    assert "   12  ok" in line(row(UIS["codex"], "short", [outcome("submitted", 1)], took=12.3))


def results(path: Path, begun: int, rows: list[Row]) -> Path:
    """A file as the trial writes it."""
    result = {"begun": begun, "date": f"2026-11-2{begun}", "n": 2, "commit": "abc1234", "tmux": "3.3a"}
    path.write_text(json.dumps(result | {"rows": [asdict(one) for one in rows]}))
    return path


def test_the_table_takes_each_round_from_the_newest_results(tmp_path: Path) -> None:
    right, wrong = outcome("submitted", 1), outcome("submitted", 0)
    given = [("special: a", right), ("special: b", wrong)], [("special: b", right), ("short", wrong)]
    paths = [
        results(tmp_path / f"{begun}.json", begun, [row(UIS["codex"], case, [each, right]) for case, each in rounds])
        for begun, rounds in enumerate(given)
    ]
    assert table(newest(reversed(paths)), ["codex", "pi"]).splitlines() == [
        f"| case | codex {UIS['codex'].package.version} |",
        "|---|---|",
        "| short | 1/2 |",
        "| special | 4/4 |",
        "| last run | 1970-01-01 |",
    ]


def test_a_table_says_why_a_cell_is_empty(tmp_path: Path) -> None:
    right = outcome("submitted", 1)
    rows = [row(UIS["codex"], "dialog", [right]), row(UIS["pi"], "short", [right])]
    rows.append(row(UIS["pi"], "shell", [], broken="BrokenError: something was typed"))
    shown = table(newest([results(tmp_path / "a.json", 1, rows)]), ["codex", "pi"]).splitlines()
    assert "| dialog | 1/1 | never asks |" in shown
    assert "| short | - | 1/1 |" in shown
    assert "| shell | - | 0/0, broken |" in shown


def test_a_round_of_another_version_than_the_columns_says_so(tmp_path: Path) -> None:
    rows = [row(UIS["pi"], case, [outcome("submitted", 1)]) for case in ("short", "shell")]
    older = results(tmp_path / "a.json", 1, [replace(one, version="0.9") for one in rows])
    newer = results(tmp_path / "b.json", 2, [replace(rows[0], version="1.0")])
    shown = table(newest([older, newer]), ["pi"]).splitlines()
    assert [shown[0], *shown[2:4]] == ["| case | pi 1.0 |", "| short | 1/1 |", "| shell | 1/1 (0.9) |"]


def test_kept_results_have_each_round_once_with_what_repeats_it(tmp_path: Path) -> None:
    wrong = outcome("submitted", 0)
    path = results(tmp_path / "given.json", 1, [row(UIS["codex"], "special: trailing \\", [wrong, wrong])])
    (tmp_path / "kept").mkdir()
    assert keep([path], tmp_path / "kept") == 1
    assert keep([path], tmp_path / "kept") == 0
    (kept,) = json.loads((tmp_path / "kept" / "2026-11-21.json").read_text())["rows"]
    assert kept["command"] == 'ops/trial/run --ui codex -n 2 --case "special: trailing \\\\"'
    assert (kept["commit"], kept["version"], kept["good"]) == ("abc1234", UIS["codex"].package.version, False)
    assert kept["outcomes"] == [{"good": False}, {"good": False}]


def test_the_documentations_tables_are_those_of_the_kept_results() -> None:
    """`ops/trial/run --keep` makes them."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
    assert "| last run |" in text
    assert {ui for ui, _ in newest(FOLDER.glob("*.json"))} <= set(UIS)


def test_few_messages_do_not_take_the_place_of_many(tmp_path: Path) -> None:
    path = results(tmp_path / "given.json", 1, [row(UIS["codex"], "short", [outcome("submitted", 1)])])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quick": True}))
    with pytest.raises(SystemExit, match="too few messages"):
        keep([path], tmp_path)


def test_every_ui_has_the_quick_cases_as_far_as_it_asks_and_is_started_once_for_them() -> None:
    for ui in UIS.values():
        cases = quick(ui)
        assert set(QUICK) - set(cases) == (set() if ui.asks else {"dialog"})
        assert len({case.look.name for case in cases.values()}) == 1


def test_a_ui_that_cannot_be_started_is_a_bad_round_and_ends_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: object) -> NoReturn:
        raise subprocess.TimeoutExpired(["cline", "auth"], 120)

    monkeypatch.setattr(main, "Session", broken)
    kept: list[Row] = []
    main.trial(UIS["cline"], quick(UIS["cline"]), 2, kept.append)
    assert [(one.case, one.good, "timed out after 120 seconds" in one.broken) for one in kept] == [
        ("short", False, True)
    ]


def test_a_look_adds_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"model": "fake", "ui": 1}')
    (tmp_path / "a.toml").write_text("x = 1\n")
    Look("l", files={"a.json": {"ui": 2}, "a.toml": "y = 2\n", "new/b.json": {"c": 3}}).dress(tmp_path, tmp_path)
    assert json.loads((tmp_path / "a.json").read_text()) == {"model": "fake", "ui": 2}
    assert (tmp_path / "a.toml").read_text() == "x = 1\ny = 2\n"
    assert json.loads((tmp_path / "new" / "b.json").read_text()) == {"c": 3}
