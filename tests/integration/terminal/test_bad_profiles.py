"""Whatever is wrong with a file of a person's own profiles: its agent alone is held back, and told why."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.terminals import FAKES, Agent, Terminal, private_terminal

GOOD = (FAKES / "standin.toml").read_text().replace("standin", "mal")
Break = Callable[[Path], object]


def rewritten(old: str, new: str) -> Break:
    assert old in GOOD
    return lambda path: path.write_text(GOOD.replace(old, new))


def no_permission(path: Path) -> None:
    path.write_text(GOOD)
    path.chmod(0)


BAD: dict[str, tuple[Break, str]] = {
    "a key that is none": (
        rewritten("ruled", "rulde"),
        ":10: unknown key `rulde` in [composer]; did you mean `rule`?",
    ),
    "a table that is none": (rewritten("[typing]", "[typig]"), ":18: unknown key `typig`; did you mean `typing`?"),
    "no TOML": (rewritten("ruled = true", "ruled = tru"), ":10: "),
    "a value of another kind": (rewritten("pause = 0.05", "pause = 'x'"), ":19: `pause` in [typing] is 'x'"),
    "a time that has passed": (rewritten("pause = 0.05", "pause = -1"), ":19: `pause` in [typing] is -1"),
    "a time that is none": (rewritten("pause = 0.05", "pause = nan"), ":19: `pause` in [typing] is nan"),
    "a regular expression that is none": (rewritten("'^❯ '", "'^(❯ '"), ":9: `start` in [composer] is '^(❯ '"),
    "one that takes for ever": (
        rewritten("'^❯ '", "'^❯(.+)+\\x01|^❯ '"),
        "a pattern of its profile takes more than 1 s",
    ),
    "a key that interrupts": (rewritten('"Tab"', '"C-c"'), ":20: [typing]: `enter_busy` is 'C-c'"),
    "a guard that breaks out": (rewritten('"$" = ""', '"$" = "\\u001b[201~"'), ":22: [typing]: `leading` has"),
    "another's name": (rewritten('name = "mal"', 'name = "standin"'), ':1: `name` must be "mal", like the file'),
    "an interpreter": (rewritten('["mal"]', '["mal", "python3"]'), ":6: [process]: 'python3' runs everything"),
    "a folder that all have": (
        rewritten('["mal"]', '["mal"]\nscripts = ["node_modules/"]'),
        ":7: [process]: the script",
    ),
    "nothing in it": (lambda path: path.write_text(""), '`name` must be "mal", like the file'),
    "not UTF-8": (lambda path: path.write_bytes(GOOD.encode() + b"# \xff\n"), "byte 0xff is no UTF-8"),
    "ten megabytes": (lambda path: path.write_text(GOOD + "#" * 10_000_000), "more than 64 KiB"),
    "brackets without end": (lambda path: path.write_text("x = " + "[" * 5000), "no TOML that can be read"),
    "a folder": (lambda path: path.mkdir(), "a profile is a plain file, and that is none"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "a link to nothing"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "a pipe": (os.mkfifo, "a profile is a plain file, and that is none"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "a profile is a plain file, and that is none"),
}
if os.geteuid() != 0:  # the superuser may read it
    BAD["no permission"] = (no_permission, "Permission denied")


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    with private_terminal() as made:
        yield made


@pytest.fixture(scope="module")
def agents(terminal: Terminal) -> tuple[Agent, Agent]:
    """One whose profile is right, and one whose profile each test breaks."""
    program = shutil.copy(FAKES / "standin.py", terminal.home / "mal.py")
    return terminal.agent("ann"), terminal.agent("mal", program=Path(program))


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_holds_back_its_own_agent_alone(terminal: Terminal, agents: tuple[Agent, Agent], what: str) -> None:
    good, bad = agents
    path = terminal.home / ".config/bus-watch/profiles/mal.toml"
    broken, says = BAD[what]
    broken(path)
    try:
        held = terminal.run("send_message", "-t", "mal", "--json", "-m", f"over {what}")
        sent = terminal.run("send_message", "-t", "ann", "--json", "-m", f"beside {what}")
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = json.loads(held.stdout)
    assert (held.returncode, said["verdict"]) == (75, "deferred")
    assert says in said["reason"]
    assert what.startswith("one that") or said["reason"].startswith(f"{path}:")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert f"beside {what}" in good.submitted()
    assert bad.submitted() == []


def test_a_stranger_is_refused_as_ever_beside_files_that_cannot_be_read(terminal: Terminal) -> None:
    path = terminal.home / ".config/bus-watch/profiles/odd.toml"
    path.write_bytes(b"\xff")
    hidden = path.with_name(".#ann.toml")  # an editor's lock
    hidden.symlink_to("somebody@somewhere")
    terminal.session("stranger", "cat")
    try:
        done = terminal.run("send_message", "-t", "stranger", "-m", "hello")
    finally:
        path.unlink()
        hidden.unlink()
    assert done.returncode == 69
    assert "which no profile knows" in done.stderr
