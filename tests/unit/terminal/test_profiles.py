"""Profiles are data that people write: every mistake is named."""

import re
import threading
import time
from pathlib import Path

import msgspec
import pytest

from worker.terminal import profile_files, profiles
from worker.terminal.profile_files import SHIPPED
from worker.terminal.profiles import ProfileError

GOOD = "name = 'x'\n[process]\ncommands = ['x']\n[composer]\nstart = '^> '\n"


@pytest.mark.parametrize("name", profile_files.names([SHIPPED]))
def test_shipped_profiles_load(name: str) -> None:
    profile = profile_files.load(name, [SHIPPED])
    assert profile.about
    assert name == "generic" or profile.measured
    assert name == "generic" or profile.composer is not None


def test_only_one_thread_at_a_time_converts(monkeypatch: pytest.MonkeyPatch) -> None:
    """More at once have ended the process: a segmentation fault in msgspec."""
    inside: list[int] = []
    most: list[int] = []
    convert = msgspec.convert

    def slow(*args: object, **options: object) -> object:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return convert(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(msgspec, "convert", slow)
    threads = [threading.Thread(target=profiles.parse, args=("x", GOOD, "x.toml")) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == [1] * 8


def test_all_are_there() -> None:
    wanted = {"claude", "codex", "gemini", "opencode", "pi", "aider", "ipython", "ptpython", "generic"}
    assert wanted <= set(profile_files.names([SHIPPED]))


def test_a_users_own_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "codex.toml").write_text(GOOD.replace("'x'", "'codex'", 1))
    assert profile_files.load("codex", [tmp_path, SHIPPED]).commands == {"x"}
    assert profile_files.load("claude", [tmp_path, SHIPPED]).commands == {"claude"}


def test_where_a_users_own_lie() -> None:
    assert profile_files.user_directory({"HOME": "/h"}) == Path("/h/.config/bus-watch/profiles")
    assert profile_files.user_directory({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}) == Path("/c/bus-watch/profiles")
    assert profile_files.user_directory({"HOME": "/h", "XDG_CONFIG_HOME": "c"}) == Path("/h/.config/bus-watch/profiles")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "colour = 1\n", "unknown key `colour`"),
        (GOOD.replace("'x'", "'y'", 1), "`name` must be"),
        (GOOD.replace("'^> '", "'('"), "no regular expression"),
        (GOOD.replace("[composer]\nstart = '^> '\n", ""), "composer"),
        (GOOD.replace("start", "right"), "give `start`"),
        (GOOD + "[[signs]]\nstate = 'tired'\n", "'tired'"),
        (GOOD + "[[signs]]\nstate = 'busy'\n", "condition"),
        (GOOD + "[typing]\npause = 'long'\n", "`pause`"),
        (GOOD + "[typing]\nenter = 'C-c'\n", "'C-c'"),
        (GOOD + "[typing]\nenter_busy = 'Escape'\n", "'Escape'"),
        (GOOD + "[typing]\nleading = {a = 1}\n", "texts"),
        (GOOD + "[typing]\nreplaces = {'' = 'x'}\n", "empty text"),
        (GOOD + '[typing]\nreplaces = {a = "\\u001b[201~"}\n', "only characters that can be seen"),
        (GOOD + "[record]\nformat = 'jsonl'\n", "needs `paths`"),
        (GOOD + "[record]\npaths = ['x']\n[[record.entries]]\nwhere = {}\n", "`text`"),
        (GOOD + "process = 1\n", "process"),
        ("name = ", "x.toml"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        profiles.parse("x", text, "x.toml")
    assert says in str(caught.value)
    assert "x.toml" in str(caught.value)


@pytest.mark.parametrize("name", ["nobody", "../codex", ""])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ProfileError, match="no profile is called"):
        profile_files.load(name, [SHIPPED])


def test_the_readme_explains_every_key() -> None:
    words = set(re.findall(r"[a-z_]+", (SHIPPED / "README.md").read_text(encoding="utf-8")))
    keys = {key for table in profiles.TABLES.values() for key in table.__struct_fields__}
    assert keys - words == set()
