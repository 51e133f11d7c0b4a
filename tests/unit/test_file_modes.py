"""What others could change is not trusted: the file, a folder above it, a link on the way, by mode or by owner."""

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.configuration import load
from worker.errors import ConfigError
from worker.file_modes import exposed
from worker.transports.command import CommandExposed, check_command


@pytest.fixture
def program(tmp_path: Path) -> Path:
    program = tmp_path / "opt" / "tools" / "wake"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_what_only_its_owner_can_change_is_fine(program: Path) -> None:
    assert exposed(program) is None
    assert exposed("/bin/sh") is None
    program.parent.chmod(0o775)  # a group of the owner's choosing
    assert exposed(program) is None


@pytest.mark.parametrize("above", [0, 1, 2])
def test_the_file_and_each_folder_above_it(program: Path, above: int) -> None:
    place = [program, *program.parents][above]
    place.chmod(0o777)
    reason = exposed(program)
    assert reason is not None
    assert reason.endswith(f"chmod o-w {place}")


def test_a_sticky_folder_keeps_what_is_somebodys(program: Path) -> None:
    program.parent.chmod(0o1777)
    assert exposed(program) is None
    program.chmod(0o757)
    assert exposed(program) is not None


def test_links_are_followed_one_by_one(program: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    hop = shared / "hop"
    hop.symlink_to(program)
    link = tmp_path / "link"
    link.symlink_to("shared/hop")
    assert exposed(link) is None
    shared.chmod(0o777)
    assert exposed(link) is not None, "whoever replaces the hop replaces the program"
    shared.chmod(0o755)
    program.parent.chmod(0o777)
    assert exposed(link) is not None
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert exposed(loop) is None, "nobody can change it"


def test_a_command_that_everybody_can_change_is_not_run(program: Path) -> None:
    check_command(str(program), [str(program)])
    program.parent.chmod(0o777)
    with pytest.raises(CommandExposed, match="every user of this machine can change"):
        check_command(str(program), [str(program)])


def test_a_configuration_that_everybody_can_change_is_not_read(tmp_path: Path) -> None:
    config = tmp_path / "etc" / "bus-watch.json"
    config.parent.mkdir()
    config.write_text('{"agent": "bob", "token_file": "~/token"}')
    config.chmod(0o600)
    load(config)
    config.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=f"chmod o-w {config.parent}"):
        load(config)
    config.parent.chmod(0o700)
    config.chmod(0o606)
    with pytest.raises(ConfigError, match=f"chmod o-w {config}"):
        load(config)


SOMEBODY = 12345  # nobody's number here
SOMEBODY_ELSE = 54321

GiveAway = Callable[[Path], str]


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> GiveAway:
    """Makes a file somebody else's, and says whose. Only root can; who is not becomes somebody else himself."""

    def give(place: Path) -> str:
        if os.geteuid() == 0:
            os.chown(place, SOMEBODY, -1, follow_symlinks=False)
            return str(SOMEBODY)
        owner = pwd.getpwuid(os.geteuid()).pw_name
        monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY_ELSE)
        return owner

    return give


@pytest.mark.parametrize("above", [0, 1, 2])
def test_what_somebody_else_owns(program: Path, above: int, give_away: GiveAway) -> None:
    place = [program, *program.parents][above]
    owner = give_away(place)
    reason = exposed(program)
    assert reason is not None
    assert f" belongs to {owner}, who can change it: run this as {owner}, or chown " in reason
    if owner == str(SOMEBODY):
        assert reason.endswith(f"or chown root {place}")
        assert exposed(program, SOMEBODY) is None, "it is his own, and the rest is root's"
    assert exposed(program, SOMEBODY_ELSE) is not None
    with pytest.raises(CommandExposed, match=f"belongs to {owner}"):
        check_command(str(program), [str(program)])


def test_a_link_of_somebody_else(program: Path, tmp_path: Path, give_away: GiveAway) -> None:
    """In a folder with the sticky bit its owner replaces it."""
    link = tmp_path / "link"
    link.symlink_to(program)
    give_away(link)
    assert exposed(link) is not None


def test_what_is_roots_is_trusted_by_everybody() -> None:
    assert exposed("/bin/sh", SOMEBODY) is None


IN_A_NAMESPACE = """
import ctypes, os, worker.file_modes as f
libc, user = ctypes.CDLL(None, use_errno=True), os.geteuid() or 12345
if os.geteuid() == 0:
    os.setuid(user)
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self is ours again
assert libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWUSER
with open("/proc/self/uid_map", "w") as owners:
    owners.write(f"0 {user} 1")
print(os.stat("/bin/sh").st_uid, f.exposed("/bin/sh"))
"""


def test_an_owner_whom_the_namespace_does_not_know_is_no_reason() -> None:
    """As in bubblewrap, where /usr belongs to `nobody`."""
    done = subprocess.run([sys.executable, "-c", IN_A_NAMESPACE], capture_output=True, text=True, check=False)
    overflow = Path("/proc/sys/kernel/overflowuid").read_text().strip()
    assert done.stdout == f"{overflow} None\n", done.stderr


def test_a_configuration_of_somebody_else_is_not_read(tmp_path: Path, give_away: GiveAway) -> None:
    config = tmp_path / "bus-watch.json"
    config.write_text('{"agent": "bob", "token_file": "~/token"}')
    config.chmod(0o600)
    mine = os.geteuid()
    owner = give_away(config)
    with pytest.raises(ConfigError, match=f"belongs to {owner}, who can change it: run this as {owner}"):
        load(config)
    assert load(config, user=SOMEBODY if mine == 0 else mine).agents
