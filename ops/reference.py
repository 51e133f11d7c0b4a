"""Writes the generated parts of docs/reference.md from the code: python ops/reference.py [--check].

What stands between `<!-- generated: NAME -->` and `<!-- end -->` comes from the argument parsers, the settings models
(a key's text is the docstring under its field), the rules of delivery and the error classes. All else on that page is
written by hand.
"""

import argparse
import ast
import importlib
import itertools
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import worker
from worker import alert_settings, settings
from worker.alert_settings import AlertSettings, ChannelSettings
from worker.cli.main import COMMANDS, command_parser
from worker.conditions import Condition
from worker.delivery import Ending, Meaning, RetryPolicy, meaning
from worker.errors import BusWatchError
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.terminal import agent_send, send_message, wake

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands_table() -> Iterator[str]:
    """Every command with its few words."""
    yield from ("| command | |", "|---|---|")
    for name, words in COMMANDS.items():
        yield f"| [`bus-watch {name}`](#bus-watch-{name}) | {words} |"


def commands() -> Iterator[str]:
    """Every command's description, options and examples."""
    for name in COMMANDS:
        yield from _command(f"bus-watch {name}", command_parser(name))


def terminal_commands() -> Iterator[str]:
    """The same of the commands for terminals."""
    for name, module in (("send-message", send_message), ("agent-send", agent_send), ("wake", wake)):
        yield from _command(name, module._parser())  # noqa: SLF001 - theirs, and this script's


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from (f"### {name}", "", (parser.description or "").strip(), "")
    yield from ("| | |", "|---|---|")
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
        if not isinstance(action, argparse._HelpAction):  # noqa: SLF001 - the same
            yield f"| {_invocation(action)} | {_cell(_help(action))} |"
    if parser.epilog:
        yield from ("", "```", parser.epilog.strip(), "```")
    yield ""


def _invocation(action: argparse.Action) -> str:
    """`-n`, `--limit N`: spelled by us, because each Python prints it in another way."""
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    if not action.option_strings:
        return f"`{value}`" + (" (may be left out)" if action.nargs == "?" else "")
    *short, last = action.option_strings
    suffix = "" if action.nargs == 0 else f" {value}"
    return ", ".join(f"`{one}`" for one in (*short, last + suffix)).replace("|", r"\|")


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {"default": action.default, "dest": action.dest, "prog": ""}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a settings model: its values, its default, and the docstring under it."""
    described = _docstrings()[model.__name__]
    schema = model.model_json_schema()
    yield from ("| key | values | default | |", "|---|---|---|---|")
    for name, field in model.model_fields.items():
        if name == "config_path":
            continue
        annotation, text = described[name]
        part = schema["properties"][name]
        default = (
            "required" if field.is_required() else _default(field.get_default(call_default_factory=True), annotation)
        )
        yield f"| `{name}` | {_values(part, annotation)} | {default} | {_cell(text)} |"


def _docstrings() -> dict[str, dict[str, tuple[str, str]]]:
    """By model and field: its annotation as written, and the docstring under it."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    sources = (Path(module.__file__ or "").read_text("utf-8") for module in (settings, alert_settings))
    for model in (statement for source in sources for statement in ast.parse(source).body):
        if isinstance(model, ast.ClassDef):
            fields = found.setdefault(model.name, {})
            for statement, below in zip(model.body, [*model.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    fields[statement.target.id] = (ast.unparse(statement.annotation), _text(below))
    return found


def _text(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def _values(part: dict[str, Any], annotation: str) -> str:
    if "$ref" in part:
        return "[conditions](#conditions)" if part["$ref"].endswith("/Condition") else "object"
    if "anyOf" in part:
        return " or ".join(_values(one, annotation) for one in part["anyOf"] if one.get("type") != "null")
    if "enum" in part:
        return ", ".join(f"`{one}`" for one in part["enum"])
    match part.get("type"):
        case "array":
            return f"list of {_values(part['items'], annotation)}"
        case "boolean":
            return "`true`, `false`"
        case "number" if "uration" in annotation:
            return "[duration](#durations)"
        case "integer" | "number":
            return _bounds(part)
        case "object":
            return "object of text"
    return "text"


def _bounds(part: dict[str, Any]) -> str:
    least, most = part.get("minimum"), part.get("maximum")
    return f"{least:,} to {most:,}" if most is not None else f"{least:,} or more"


def _default(value: Any, annotation: str) -> str:
    if value is None or value in ((), {}) or isinstance(value, BaseModel):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, frozenset):
        return ", ".join(map(str, sorted(value)))
    if isinstance(value, (int, float)):
        return _span(value) if "uration" in annotation or isinstance(value, float) else f"{value:,}"
    return f"`{value}`"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def conditions() -> Iterator[str]:
    """Every condition, and the docstring under it."""
    yield from ("| condition | |", "|---|---|")
    body = next(
        one
        for one in ast.parse(Path(worker.conditions.__file__).read_text("utf-8")).body
        if isinstance(one, ast.ClassDef)
    ).body
    for statement, below in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield f"| `{Condition[statement.targets[0].id]}` | {_cell(_text(below))} |"


MEANINGS = {
    Meaning.SUCCESS: "succeeded, whatever it printed",
    Meaning.PERMANENT: "permanent: a dead letter at once (`permanent_exit_codes`)",
    Meaning.FREE: "nothing was done, and no attempt is used up: nobody there (69), or deferred (75)",
    Meaning.UNKNOWN: "unknown: `on_unknown` decides. A time-out and an interruption mean the same",
    Meaning.TRANSIENT: "failed: one attempt used, of `max_attempts`. A signal means the same",
}


def exit_statuses() -> Iterator[str]:
    """What each exit status of a transport means, by the rules with their defaults."""
    by_meaning: dict[Meaning, list[int]] = {}
    for code in range(256):
        by_meaning.setdefault(meaning(Ending("exit", code), RetryPolicy()), []).append(code)
    yield from ("| exit status | |", "|---|---|")
    for what, words in MEANINGS.items():
        codes = "any other" if what is Meaning.TRANSIENT else ", ".join(map(str, by_meaning[what]))
        yield f"| {codes} | {words} |"


def errors() -> Iterator[str]:
    """Every failure's stable code, and what a command exits with when it ends by one."""
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if module.name != "worker.app":  # importing it starts the program
            importlib.import_module(module.name)
    yield from ("| code | exit | |", "|---|---|---|")
    rows = {
        (kind.code, kind.exit_status, _summary(kind))
        for kind in _descendants(BusWatchError)
        if kind.__module__.startswith("worker.")
    }
    for code, status, summary in sorted(rows):
        yield f"| `{code}` | {status} | {summary} |"


def _descendants(kind: type[BusWatchError]) -> Iterator[type[BusWatchError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _summary(kind: type[BusWatchError]) -> str:
    return _cell((kind.__doc__ or "").strip().split("\n\n", 1)[0])


BLOCKS: dict[str, Callable[[], Iterator[str]]] = {
    "commands-table": commands_table,
    "commands": commands,
    "terminal-commands": terminal_commands,
    "agent-keys": lambda: keys(AgentSettings),
    "transport-keys": lambda: keys(TransportSettings),
    "whole-keys": lambda: keys(Settings),
    "alert-keys": lambda: keys(AlertSettings),
    "channel-keys": lambda: keys(ChannelSettings),
    "conditions": conditions,
    "exit-statuses": exit_statuses,
    "errors": errors,
}


def rewritten(page: str) -> str:
    """The page with every generated part as the code has it now; KeyError for a part that nobody generates."""
    return BLOCK.sub(lambda found: found[1] + "\n".join(BLOCKS[found[2]]()) + "\n" + found[3], page)


def main() -> int:
    """Write the page, or with --check say that it is not up to date."""
    before = PAGE.read_text("utf-8")
    after = rewritten(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            print("docs/reference.md is not up to date; run: python ops/reference.py")
        return int(before != after)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
