"""The commands on the pages for operators are commands that there are."""

import re
import shlex
from pathlib import Path

import pytest

from worker.cli.main import COMMANDS, command_parser

PROJECT = Path(__file__).resolve().parents[3]
PAGES = (
    "ops/runbook.md",
    "ops/migrating.md",
    "docs/moving-to-another-machine.md",
    "docs/backup-and-restore.md",
    "README.md",
)


def commands(page: str) -> list[list[str]]:
    text = (PROJECT / page).read_text().replace("\\\n", " ").replace("`bus-watch\n", "`bus-watch ")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(bus-watch [^`]+)`", text)
    words = [shlex.split(line, comments=True) for line in lines]
    return [argv[1:] for argv in words if argv and Path(argv[0]).name == "bus-watch"]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(page: str) -> None:
    found = commands(page)
    assert len(found) > 5
    for name, *arguments in found:
        assert name in COMMANDS, f"{page}: bus-watch {name}"
        command_parser(name).parse_args(arguments)
