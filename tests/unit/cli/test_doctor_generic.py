"""`doctor` refuses a transport that would type without looking, and try again."""

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
    ],
)
def test_generic_without_accept_is_refused(empty_desk: Desk, tmp_path: Path, words: str, refused: bool) -> None:
    program = tmp_path / "send-message"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = empty_desk.config.read_text()
    assert '["/bin/true"]' in text
    text = text.replace('["/bin/true"]}', f'["{program}", "--from-bus", "-t", "x", {words}], "stdin": true}}')
    empty_desk.config.write_text(text.replace('"/bin/true"', f'"{program}"'))
    said = empty_desk.run("doctor", "--offline").out
    assert ("it pastes into dialogs" in said) is refused, said
