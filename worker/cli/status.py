"""Show whether it runs, how the bus is, and what waits.

Exit status: 0 healthy, 1 degraded (the lines marked with ! say why), 2 not running.
"""

import argparse
import os
from typing import Any

from worker import times
from worker.cli import options, output
from worker.view.overview import overview
from worker.view.plain import one_line

TMUX_WIDTH = 60

EXAMPLES = """examples:
  bus-watch status && echo healthy
  bus-watch status --watch
  bus-watch status --json | jq .oldest_waiting_seconds
  tmux set -g status-right '#(bus-watch status --tmux)'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    options.add_watch(parser)
    options.add_host(parser)
    parser.add_argument("--tmux", action="store_true", help="one line, coloured for tmux's status line")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    host = None if args.host is None else options.host(args, options.settings(args))
    if args.watch:
        return output.watch(lambda: text(overview(lambda: options.settings(args), host=host)), args.color)
    found = overview(lambda: options.settings(args), ask=not args.tmux, host=host)
    if args.tmux:
        print(tmux_line(found, args.color))
    elif args.json:
        output.print_json(found)
    else:
        output.write(text(found), args.color)
    return int(found["exit_status"])


def text(found: dict[str, Any]) -> str:
    """What a person reads: for each agent what the old tool printed, then the whole, then what is wrong."""
    lines: list[str] = []
    for agent in found["agents"]:
        lines += [
            f"agent: {agent['agent']}",
            f"project: {agent['project'] or '-'}",
            f"transport: {', '.join(agent['transports']) or 'none'}",
            f"bridge_url: {agent['bridge_url']}",
        ]
        if len(found["agents"]) > 1:
            lines += [f"bus: {_bus(agent, running=found['running'])}", ""]
    if "state_path" in found:
        lines.append(f"state_path: {found['state_path']}")
    lines.append(f"config_errors: {len(found['config_errors']) or 'none'}")
    consumers = [worker for worker in found.get("workers", []) if worker["kind"] == "consumer"]
    for worker in consumers:
        up = times.span(worker["up_seconds"])
        on = f" on {worker['host']}" if worker["host"] else ""
        lines.append(f"running: yes{on}, for {up} (pid {worker['pid']}, version {worker['version']})")
    if not consumers:
        lines.append("running: no")
    if len(found["agents"]) == 1:
        lines.append(f"bus: {_bus(found['agents'][0], running=found['running'])}")
    if "backlog" in found:
        oldest = found["oldest_waiting_seconds"]
        lines.append(
            f"backlog: {found['backlog']}"
            + (f", the oldest for {times.span(oldest)}" if oldest is not None else "")
            + f" ({found['in_progress']} running, {found['retrying']} retrying)"
        )
        if (which := found["oldest_waiting"]) is not None:
            lines.append(f"oldest: {which['key']} to {which['transport']}, for {times.span(oldest)}")
        lines.append(f"dead: {found['dead']}, held: {found['held']}")
        lines += _outbox(found["outbox"])
        lines.append(f"paused: {', '.join(found['paused']) or 'none'}")
    lines += [f"host: {one['host']}: {one['words']}" for one in found.get("hosts", [])]
    for one in found.get("unknown_screens", []):
        name = f"{one['ui']} {one['version']}".strip()
        lines.append(f"unknown screens: {name}: {one['count']}, the last {times.span(one['last_seconds_ago'])} ago")
    lines += [output.wrapped(f"! {problem}", indent="  ") for problem in found["problems"]]
    return "\n".join(lines) + "\n"


def tmux_line(found: dict[str, Any], color: str) -> str:
    """What is wrong, for a status line that runs this every few seconds. tmux reads each `#`: ours alone are left."""
    if not found["running"]:
        words, style = "not running", "fg=white,bg=red"
    elif found["problems"]:
        words, style = _short(found), "fg=red"
    else:
        return "bus-watch ok"
    line = one_line(f"bus-watch: {words}", TMUX_WIDTH).replace("#", "##")
    return line if color == "never" or os.environ.get("NO_COLOR") else f"#[{style}]{line}#[default]"


def _short(found: dict[str, Any]) -> str:
    """The conditions that hold: whose, where it is one, else how many."""
    by_condition: dict[str, list[str]] = {}
    for one in found["troubles"]:
        by_condition.setdefault(one["condition"], []).append(one["about"])
    parts = [
        f"{condition} {abouts[0]}".strip() if len(abouts) == 1 else f"{len(abouts)} {condition}"
        for condition, abouts in by_condition.items()
    ]
    return ", ".join(parts) or str(found["problems"][0])


def _outbox(counts: dict[str, int]) -> list[str]:
    some = [f"{count} {state}" for state, count in counts.items() if count]
    return [f"outbox: {', '.join(some)}"] if some else []


def _bus(agent: dict[str, Any], *, running: bool) -> str:
    seconds = agent["last_poll_seconds_ago"]
    asked = "not asked yet" if seconds is None else f"answered {times.span(seconds)} ago"
    if not running:
        return f"unknown, no worker asks it; {asked}"
    return f"{agent['bus']}, {asked}"
