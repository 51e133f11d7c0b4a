"""Show whether it runs, how the bus is, and what waits.

Exit status: 0 healthy, 1 degraded (the lines marked with ! say why), 2 not running.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from worker.cli import ledger_view, options, output, times
from worker.errors import ConfigError
from worker.ledger import disk, report
from worker.ledger.errors import LedgerError
from worker.settings import AgentSettings, Settings

EXAMPLES = """examples:
  bus-watch status && echo healthy
  bus-watch status --watch
  bus-watch status --json | jq .oldest_waiting_seconds
"""

SILENT_SECONDS = 60.0  # a bus that has not answered for so long is worth a red line
STALE_SWEEP_SECONDS = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument("--watch", action="store_true", help="show it live, until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.watch:
        return output.watch(lambda: text(collect(args)))
    found = collect(args)
    if args.json:
        output.print_json(found)
    else:
        output.write(text(found))
    return int(found["exit_status"])


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that `status` tells, as its JSON has it."""
    try:
        settings = options.settings(args)
    except ConfigError as error:
        problems = str(error).splitlines()
        return {"running": False, "problems": problems, "config_errors": problems, "agents": [], "exit_status": 2}
    found: dict[str, Any] = {
        "running": False,
        "problems": [],
        "config_errors": [],
        "state_path": str(settings.state_file),
        "ledger": str(settings.ledger_file),
        "agents": [],
        "workers": [],
    }
    try:
        with ledger_view.ledger_of(settings) as db:
            _read(found, settings, db)
    except LedgerError as error:
        found["agents"] = [_agent(agent, None, [], time.time()) for agent in settings.agents]
        found["problems"].append(str(error))
    _disk(found, settings.ledger_file)
    found["config_errors"] = [
        f"agent {agent.agent}: no transport is configured, so it is not polled"
        for agent in settings.agents
        if not agent.transports
    ]
    found["problems"] += found["config_errors"]
    if len(settings.agents) == 1:
        one = found["agents"][0]
        found |= {key: one[key] for key in ("agent", "project", "bridge_url", "transports")}
    found["exit_status"] = 2 if not found["running"] else int(bool(found["problems"]))
    return found


def _read(found: dict[str, Any], settings: Settings, db: Any) -> None:
    now = time.time()
    workers = ledger_view.living_workers(db, settings)
    lanes = report.lanes(db)
    inboxes = report.inboxes(db)
    found["workers"] = [_worker(row, now, found["problems"]) for row in workers]
    found["running"] = any(row["kind"] == "consumer" for row in workers)
    for agent in settings.agents:
        mine = [lane for lane in lanes if lane.agent == agent.agent]
        found["agents"].append(_agent(agent, inboxes.get(agent.agent), mine, now, found["problems"]))
    for state in ("waiting", "retrying", "held", "dead"):
        found[state] = sum(getattr(lane, state) for lane in lanes)
    found["in_progress"] = sum(lane.running for lane in lanes)
    found["backlog"] = found["waiting"] + found["retrying"] + found["in_progress"]
    oldest = [lane.oldest for lane in lanes if lane.oldest is not None]
    found["oldest_waiting_seconds"] = round(now - min(oldest), 1) if oldest else None
    found["paused"] = [f"{lane.agent} {lane.transport}" for lane in lanes if lane.paused]
    found["orphaned"] = [
        f"{lane.agent} {lane.transport}"
        for lane in lanes
        if settings.transport(lane.agent, lane.transport) is None and lane.waiting + lane.retrying + lane.held
    ]
    _lane_problems(found, lanes, now)


def _lane_problems(found: dict[str, Any], lanes: list[report.LaneReport], now: float) -> None:
    problems = found["problems"]
    for lane in lanes:
        if lane.broken_since is not None:
            problems.append(
                f"{lane.agent} {lane.transport}: nobody there since {times.span(now - lane.broken_since)}"
                f" ({lane.broken_reason}); messages wait"
            )
    problems += [f"{name}: not configured any more, and messages wait for it" for name in found["orphaned"]]
    if found["held"]:
        problems.append(f"{found['held']} held: nobody knows whether they were done; see bus-watch queue")
    if found["dead"]:
        problems.append(f"{found['dead']} dead: bus-watch queue says why; retry or drop them")


def _worker(row: Any, now: float, problems: list[str]) -> dict[str, Any]:
    swept = row["swept_at"]
    stale = row["kind"] == "consumer" and now - max(swept or 0.0, row["started_at"]) > STALE_SWEEP_SECONDS
    if stale:
        problems.append(f"worker {row['pid']} has not swept since {times.ago(swept, now)}: it hangs, or is stopped")
    health = row["health"] if "health" in row.keys() else None  # noqa: SIM118 - a sqlite3.Row is no mapping
    if health and health != "ok":
        problems.append(f"worker {row['pid']}: {health}")
    return {
        "pid": row["pid"],
        "kind": row["kind"],
        "version": row["version"],
        "since": times.stamp(row["started_at"]),
        "swept_at": times.stamp(swept),
        "up_seconds": round(now - row["started_at"], 1),
    }


def _agent(
    agent: AgentSettings, inbox: Any, lanes: list[report.LaneReport], now: float, problems: list[str] | None = None
) -> dict[str, Any]:
    polled = inbox["polled_at"] if inbox else None
    failing = inbox["failing_since"] if inbox else None
    error = inbox["error"] if inbox else None
    if problems is not None and error and (polled is None or now - (failing or now) > SILENT_SECONDS):
        problems.append(f"{agent.agent}: the bus fails since {times.span(now - (failing or now))}: {error}")
    return {
        "agent": agent.agent,
        "project": agent.project,
        "bridge_url": agent.bridge_url,
        "transports": [t.name for t in agent.transports],
        "bus": "unknown" if polled is None and not error else ("failing" if error else "ok"),
        "bus_error": error,
        "bus_failing_since": times.stamp(failing),
        "last_poll": times.stamp(polled),
        "last_poll_seconds_ago": None if polled is None else round(now - polled, 1),
        "malformed": inbox["malformed"] if inbox else 0,
        "lanes": [
            {
                "transport": lane.transport,
                "waiting": lane.waiting,
                "retrying": lane.retrying,
                "running": lane.running,
                "held": lane.held,
                "dead": lane.dead,
                "paused": lane.paused,
                "circuit_broken_since": times.stamp(lane.broken_since),
            }
            for lane in lanes
        ],
    }


def _disk(found: dict[str, Any], ledger: Path) -> None:
    try:
        free = disk.free_bytes(ledger)
    except OSError:
        return
    found["disk_free_bytes"] = free
    if free < disk.LOW_BYTES:
        found["problems"].append(f"only {free // 2**20} MiB free on the ledger's disk: new mail will wait on the bus")


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
            lines += [f"bus: {_bus(agent)}", ""]
    if "state_path" in found:
        lines.append(f"state_path: {found['state_path']}")
    lines.append(f"config_errors: {len(found['config_errors']) or 'none'}")
    consumers = [worker for worker in found.get("workers", []) if worker["kind"] == "consumer"]
    for worker in consumers:
        up = times.span(worker["up_seconds"])
        lines.append(f"running: yes, for {up} (pid {worker['pid']}, version {worker['version']})")
    if not consumers:
        lines.append("running: no")
    if len(found["agents"]) == 1:
        lines.append(f"bus: {_bus(found['agents'][0])}")
    if "backlog" in found:
        oldest = found["oldest_waiting_seconds"]
        lines.append(
            f"backlog: {found['backlog']}"
            + (f", the oldest for {times.span(oldest)}" if oldest is not None else "")
            + f" ({found['in_progress']} running, {found['retrying']} retrying)"
        )
        lines.append(f"dead: {found['dead']}, held: {found['held']}")
        lines.append(f"paused: {', '.join(found['paused']) or 'none'}")
    lines += [f"! {problem}" for problem in found["problems"]]
    return "\n".join(lines) + "\n"


def _bus(agent: dict[str, Any]) -> str:
    seconds = agent["last_poll_seconds_ago"]
    asked = "not asked yet" if seconds is None else f"answered {times.span(seconds)} ago"
    return f"{agent['bus']}, {asked}" + (f": {agent['bus_error']}" if agent["bus_error"] else "")
