"""`doctor` refuses a transport that would type without looking, and try again."""

import os
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Desk


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ('"--agent", "generic"', True),
        ('"--agent=generic"', True),
        ('"--ag", "generic"', True),
        ('"--agen=generic", "--acc", "unproven"', False),
        ('"--agent", "generic", "--accept", "unproven"', False),
        ('"--agent=generic", "--accept=unproven"', False),
        ('"--agent", "codex"', False),
        ('"--agent", "blind"', True),  # a profile of one's own that looks at nothing, either
        ('"--agent", "blind", "--accept", "unproven"', False),
        ('"--agent", "broken"', False),
    ],
)
def test_generic_without_accept_is_refused(empty_desk: Desk, tmp_path: Path, words: str, refused: bool) -> None:
    own = Path(os.environ["HOME"], ".config/bus-watch/profiles")
    own.mkdir(parents=True)
    (own / "blind.toml").write_text('name = "blind"\n')
    (own / "broken.toml").write_text('name = "other"\n')
    program = tmp_path / "send-message"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = empty_desk.config.read_text()
    assert '["/bin/true"]' in text
    text = text.replace('["/bin/true"]}', f'["{program}", "--from-bus", "-t", "x", {words}], "stdin": true}}')
    empty_desk.config.write_text(text.replace('"/bin/true"', f'"{program}"'))
    said = empty_desk.run("doctor", "--offline").out
    assert ("it pastes into dialogs" in said) is refused, said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ('"/usr/bin/timeout", "60", "{program}", "-t", "x", "--agent", "generic"', "--agent generic looks at nothing"),
        ('"/usr/bin/env", "A=1", "{program}", "-t", "x", "--agent=generic"', "--agent generic looks at nothing"),
        ('"{program}", "-t", "x", "--allow-shell"', "--allow-shell types into a shell"),
        ('"{program}", "-t", "x", "--allow-sh"', "--allow-shell types into a shell"),
    ],
)
def test_so_are_its_siblings(empty_desk: Desk, tmp_path: Path, words: str, says: str) -> None:
    program = tmp_path / "send-message"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    words = words.replace("{program}", str(program))
    text = empty_desk.config.read_text().replace('["/bin/true"]}', f'[{words}, "-m", "{{text}}"]}}')
    empty_desk.config.write_text(text.replace('"/bin/true"', words.split(", ")[0]))
    assert says in empty_desk.run("doctor", "--offline").out
