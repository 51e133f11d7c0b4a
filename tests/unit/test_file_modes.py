"""What every user could change is not trusted: the file, a folder above it, a link on the way."""

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
