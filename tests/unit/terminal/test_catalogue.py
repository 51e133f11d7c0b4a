"""Profiles are read when they are needed, and a bad one disables its own agent only."""

from pathlib import Path

import pytest

from worker.terminal.catalogue import Catalogue
from worker.terminal.processes import Process
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.profiles import ProfileError

GOOD = 'name = "{}"\n[process]\ncommands = ["{}"]\n[composer]\nstart = "^> "\n'


def process(*names: str, script: str = "") -> Process:
    return Process(1, frozenset(names), script, 1.0)


def test_a_typo_in_a_users_file_is_felt_by_its_own_agent_only(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine").replace("start", "strat"))
    (tmp_path / "worse.toml").write_text('name = "worse\n')
    found = Catalogue([tmp_path, SHIPPED])
    known = found.knowing([process("node", script="/x/@openai/codex/bin/codex.js")])
    assert known is not None
    assert known[0].name == "codex"
    assert found.knowing([process("vim")]) is None
    for name in ("mine", "worse"):
        with pytest.raises(ProfileError) as caught:
            found.knowing([process(name)])
        assert f"{name}.toml" in str(caught.value)


@pytest.mark.parametrize(
    "matches",
    [
        'comands = ["other"]\nscripts = ["lib/other.js"]',
        'commands = "other"\nscripts = ["lib/other.js"]',
        '# commands = ["old"]\ncomands = ["other"]',
        'comands = ["other"]',
        'Commands = "other"\ncommands = "other"',
        'scrits = ["lib/other.js"]',
    ],
)
def test_a_typo_in_what_it_matches_is_told_whatever_else_it_names(tmp_path: Path, matches: str) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine").replace('commands = ["mine"]', matches))
    with pytest.raises(ProfileError, match=r"mine\.toml:\d+: .*(comands|[cC]ommands|scrits)"):
        Catalogue([tmp_path, SHIPPED]).knowing([process("other", script="/x/lib/other.js")])
    assert Catalogue([tmp_path, SHIPPED]).knowing([process("vim")]) is None


@pytest.mark.parametrize(
    "matches",
    [
        'commands = ["x]y", "other"]',
        '"commands" = ["other"]',
        "commands = ['other']",
        'commands = [  # what ps shows, it isn\'t argv[0]\n  "other",\n]',
    ],
)
def test_a_list_is_found_however_it_is_written(tmp_path: Path, matches: str) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine").replace('commands = ["mine"]', matches))
    known = Catalogue([tmp_path, SHIPPED]).knowing([process("other")])
    assert known is not None
    assert known[0].name == "mine"


def test_a_typo_is_named_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine").replace("start", "strat"))
    with pytest.raises(ProfileError) as caught:
        load("mine", [tmp_path])
    assert str(caught.value) == f"{tmp_path}/mine.toml:5: unknown key `strat` in [composer]; did you mean `start`?"


@pytest.mark.parametrize(
    ("more", "line", "says"),
    [
        ("[typing]\npause = 'long'\n", 7, "`pause` in [typing] is 'long'"),
        ("[[signs]]\nstate = 'busy'\ntitle = 'x'\n[[signs]]\nstate = 'tired'\ntitle = 'x'\n", 10, "'tired'"),
        ("[record]\npaths = ['x']\n[[record.entries]]\ntext = 3\n", 9, "`text`"),
        ("[typing.leading]\n'!' = 1\n", 6, "must map texts to texts"),
        ("right = '('\n", 6, "no regular expression"),
    ],
)
def test_the_line_of_a_mistake(tmp_path: Path, more: str, line: int, says: str) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine") + more)
    with pytest.raises(ProfileError) as caught:
        load("mine", [tmp_path])
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/mine.toml{f':{line}' if line else ''}: ")


def test_a_file_that_cannot_be_read_is_a_mistake_too(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"name = '\xff'\n")
    with pytest.raises(ProfileError, match="cannot be read"):
        load("mine", [tmp_path])


def test_the_more_specific_profile_wins(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(GOOD.format("one", "agent"))
    (tmp_path / "two.toml").write_text(GOOD.format("two", "other").replace('"]', '"]\nscripts = ["/agent/"]'))
    (tmp_path / "three.toml").write_text(GOOD.format("three", "other").replace('"]', '"]\nscripts = ["/opt/agent/"]'))
    found = Catalogue([tmp_path])
    for script, name in (("", "one"), ("/usr/agent/x.js", "two"), ("/opt/agent/x.js", "three")):
        known = found.knowing([process("agent", script=script)])
        assert known is not None
        assert known[0].name == name


@pytest.mark.parametrize("name", ["node", "python3", "bun"])
def test_an_interpreter_is_no_match(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", name))
    with pytest.raises(ProfileError, match="runs everything"):
        load("mine", [tmp_path])


@pytest.mark.parametrize("key", ["C-q", "C-m", "Tab", "Right Enter", "M-Enter", "F5"])
def test_any_key_may_submit(tmp_path: Path, key: str) -> None:
    (tmp_path / "mine.toml").write_text(
        GOOD.format("mine", "mine") + f'[typing]\nenter = "{key}"\nenter_busy = "{key}"\n'
    )
    assert load("mine", [tmp_path]).typing.enter == key


@pytest.mark.parametrize("key", ["C-c", "Escape", "C-d", "C-z", "kill-server", "Enter;", "C-;", "x", "", "Enter  Tab"])
def test_none_that_ends_or_interrupts_or_is_none(tmp_path: Path, key: str) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine") + f'[typing]\nenter = "{key}"\n')
    with pytest.raises(ProfileError, match="`enter`"):
        load("mine", [tmp_path])


@pytest.mark.parametrize(
    ("key", "good"), [("C-c", True), ("C-e C-u", True), ("BSpace", True), ("C-c; kill-server", False)]
)
def test_keys_that_clear(tmp_path: Path, key: str, good: bool) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine") + f'[typing]\nclear = "{key}"\n')
    if good:
        assert load("mine", [tmp_path]).typing.clear == key
    else:
        with pytest.raises(ProfileError, match="`clear`"):
            load("mine", [tmp_path])


def test_files_for_the_first_version_are_read(tmp_path: Path) -> None:
    old = "above = '^─{10,}'\nend = '^─{10,}'\nend_required = true\nline_required = false\n"
    (tmp_path / "mine.toml").write_text(GOOD.format("mine", "mine") + old)
    (tmp_path / "bare.toml").write_text(
        GOOD.format("bare", "bare").replace('start = "^> "', "line = '^'\nend = '^─{3,}'")
    )
    mine, bare = (load(name, [tmp_path]).composer for name in ("mine", "bare"))
    assert mine is not None
    assert mine.ruled
    assert mine.rule.match("─" * 9) is None
    assert bare is not None
    assert bare.rule.match("─" * 3)


def test_a_list_without_an_end_holds_nobody_up(tmp_path: Path) -> None:
    comments = "  # what ps shows for this one\n" * 30
    (tmp_path / "mine.toml").write_text(f'commands = [\n{comments}  "mine"\n')
    assert Catalogue([tmp_path, SHIPPED]).knowing([process("vim")]) is None
    with pytest.raises(ProfileError, match=r"mine\.toml"):
        Catalogue([tmp_path, SHIPPED]).knowing([process("mine")])
