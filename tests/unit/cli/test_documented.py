"""The reference knows every command, every key of the configuration and every key of the JSON that commands print.

What of it is generated is up to date; the README stays short.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops import reference
from tests.unit.cli.conftest import MS, Desk
from worker.cli.main import COMMANDS, command_parser
from worker.settings import AgentSettings, Settings, TransportSettings

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference.md").read_text("utf-8")
README_WORDS = 700


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_generated_parts_are_up_to_date() -> None:
    assert {name for _, name, _ in reference.BLOCK.findall(PAGE)} == set(reference.BLOCKS)
    assert reference.rewritten(PAGE) == PAGE, "run: python ops/reference.py"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= README_WORDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_table(command: str) -> None:
    assert re.search(rf"^\| \[`bus-watch {command}`\]", section("Commands"), re.MULTILINE)
    assert f"\n### bus-watch {command}\n" in section("Commands")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command: str) -> None:
    parser = command_parser(command)
    assert parser.description
    assert f"  bus-watch {command}" in str(parser.epilog)
    for action in parser._actions:
        assert action.help, f"{command}: {action.option_strings or action.dest}"


def test_every_key_of_the_configuration_is_there() -> None:
    keys = {*AgentSettings.model_fields, *TransportSettings.model_fields, *Settings.model_fields} - {"config_path"}
    described = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", section("Configuration"), re.MULTILINE)
    assert sorted(keys - {key for key, text in described if text.strip()}) == []


def keys_of(
    value: Any, *, skip: frozenset[str] = frozenset({"deliveries", "states", "ways", "reasons"})
) -> Iterator[str]:
    """All keys in a document; `skip`: the objects whose keys are names that somebody chose."""
    if isinstance(value, list):
        for one in value:
            yield from keys_of(one, skip=skip)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if not (key in skip and isinstance(inner, dict)):
                yield from keys_of(inner, skip=skip)


@pytest.mark.parametrize(
    ("title", "arguments"),
    [
        ("status", ["status"]),
        ("queue", ["queue"]),
        ("show", ["show", f"{MS}-0"]),
        ("history", ["history"]),
        ("retry", ["retry", f"{MS}-0"]),
        ("retry", ["drop", f"{MS}-0"]),
        ("retry", ["pause", "does"]),
        ("retry", ["resume", "does"]),
        ("retry", ["ledger", "check"]),
        ("retry", ["purge", f"{MS}-0"]),
        ("retry", ["purge", "--older-than", "1s"]),
    ],
)
def test_every_key_of_the_json_is_there(desk: Desk, title: str, arguments: list[str]) -> None:
    entry = next(part for part in re.split(r"^- ", section("JSON"), flags=re.MULTILINE) if part.startswith(f"`{title}"))
    keys = set(keys_of(desk.run(*arguments, "--json").json))
    assert keys
    assert sorted(key for key in keys if f"`{key}`" not in entry) == []
