"""The whole at a glance: whether it runs, how the bus is for each agent, what waits, and what is wrong."""

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from worker import times
from worker.doctor.troubles import Trouble, left_over, low_disk, troubles
from worker.errors import ConfigError
from worker.ledger import configured, disk, drift, moved, outbox, report
from worker.ledger.errors import LedgerError
from worker.ledger.living import await_sign_of_life, living_workers, served
from worker.ledger.port import Tx
from worker.settings import AgentSettings, Settings
from worker.view import access, hosts


def overview(load: Callable[[], Settings], *, ask: bool = True, host: str | None = None) -> dict[str, Any]:
    """Everything that `status` tells, as its JSON has it. A configuration that does not load is a problem.

    `host`: of a fleet only what this one has, and whether it runs. `ask`: whether silent workers are asked for a sign
    of life first, which may take a second.
    """
    try:
        settings = load()
    except ConfigError as error:
        problems = str(error).splitlines()
        return {"running": False, "problems": problems, "config_errors": problems, "agents": [], "exit_status": 2}
    found: dict[str, Any] = {
        "running": False,
        "problems": [],
        "config_errors": [],
        "state_path": str(settings.state_file),
        "ledger": configured.name_of(settings),
        "troubles": [],
        "agents": [],
        "workers": [],
    }
    try:
        if ask:
            await_sign_of_life(settings)
        with access.ledger_of(settings) as db:
            _read(found, settings, db, host)
    except LedgerError as error:
        found["agents"] = [_agent(agent, None, [], time.time()) for agent in settings.agents]
        found["problems"].append(str(error))
    if not found["running"] and (elsewhere := moved.runs_elsewhere(settings.files_dir)) is not None:
        found["problems"].append(moved.sentence(elsewhere))
    _disk(found, settings.ledger_file)
    found["config_errors"] = [
        f"agent {agent.agent}: no transport is configured, so it is not polled"
        for agent in settings.agents
        if not agent.transports
    ]
    found["problems"] += found["config_errors"]
    if len(settings.agents) == 1 and found["agents"]:
        one = found["agents"][0]
        found |= {key: one[key] for key in ("agent", "project", "bridge_url", "transports")}
    found["exit_status"] = 2 if not found["running"] else int(bool(found["problems"]))
    return found


def _read(found: dict[str, Any], settings: Settings, db: Tx, host: str | None) -> None:
    now = db.now()
    workers = [row for row in living_workers(db, settings) if host is None or row["host"] == host]
    lanes = report.lanes(db, host)
    inboxes = report.inboxes(db)
    found["workers"] = [_worker(row, now) for row in workers]
    found["running"] = any(row["kind"] == "consumer" for row in workers)
    of_agents = report.by_agent(lanes)
    for agent in settings.agents:
        mine = of_agents.get(agent.agent, [])
        if mine or host is None:
            found["agents"].append(_agent(agent, inboxes.get(agent.agent), mine, now))
    if settings.is_fleet:
        found["hosts"] = [one for one in hosts.seen(db, settings) if host in {None, one["host"]}]
        found["elsewhere"] = _elsewhere(lanes, settings)
    for state in ("waiting", "retrying", "held", "dead"):
        found[state] = sum(getattr(lane, state) for lane in lanes)
    found["in_progress"] = sum(lane.running for lane in lanes)
    found["backlog"] = found["waiting"] + found["retrying"] + found["in_progress"]
    oldest = min(report.heads(db).values(), key=lambda head: head.received_at, default=None)
    found["oldest_waiting_seconds"] = round(now - oldest.received_at, 1) if oldest else None
    found["oldest_waiting"] = {"key": access.key_of(oldest), "transport": oldest.transport} if oldest else None
    found["paused"] = [f"{lane.agent} {lane.transport}" for lane in lanes if lane.paused]
    known = served(workers)
    found["orphaned"] = [
        f"{lane.agent} {lane.transport}"
        for lane in lanes
        if settings.transport(lane.agent, lane.transport) is None
        and (lane.agent, lane.transport) not in known
        and lane.waiting + lane.retrying + lane.held
    ]
    found["unknown_screens"] = [_drift(one, now) for one in drift.screens(db)]
    found["unknown_channels"] = [_drift(one, now) for one in drift.channels(db)]
    found["outbox"] = {state: outbox.counts(db).get(state, 0) for state in ("waiting", "retrying", "held", "dead")}
    _tell(found, [*troubles(db, settings, workers, lanes, now), *left_over(lanes)])


def _elsewhere(lanes: list[report.LaneReport], settings: Settings) -> list[dict[str, Any]]:
    """The lanes of agents that other hosts have configured, and this one has not."""
    return [
        {
            "agent": lane.agent,
            "transport": lane.transport,
            "host": lane.host,
            **{state: getattr(lane, state) for state in ("waiting", "retrying", "running", "held", "dead")},
        }
        for lane in lanes
        if settings.agent(lane.agent) is None and lane.host is not None
    ]


def _tell(found: dict[str, Any], troubles: Iterable[Trouble]) -> None:
    for one in troubles:
        found["problems"].append(one.words)
        found["troubles"].append({"condition": str(one.condition), "about": one.about, "words": one.words})


def _drift(one: drift.Drift, now: float) -> dict[str, Any]:
    return {
        "ui": one.ui,
        "version": one.version,
        "count": one.times,
        "first": times.stamp(one.first_at),
        "last": times.stamp(one.last_at),
        "last_seconds_ago": round(now - one.last_at, 1),
    }


def _worker(row: Any, now: float) -> dict[str, Any]:
    return {
        "pid": row["pid"],
        "host": row["host"] or None,
        "kind": row["kind"],
        "version": row["version"],
        "since": times.stamp(row["started_at"]),
        "swept_at": times.stamp(row["swept_at"]),
        "up_seconds": round(now - row["started_at"], 1),
    }


def _agent(agent: AgentSettings, inbox: Any, lanes: list[report.LaneReport], now: float) -> dict[str, Any]:
    polled = inbox["polled_at"] if inbox else None
    failing = inbox["failing_since"] if inbox else None
    error = inbox["error"] if inbox else None
    return {
        "agent": agent.agent,
        "project": agent.project,
        "bridge_url": agent.bridge_url,
        "bus_kind": agent.bus_kind,
        "transports": [t.name for t in agent.transports],
        "bus": "unknown" if polled is None and not error else ("failing" if error else "ok"),
        "bus_error": error,
        "bus_failing_since": times.stamp(failing),
        "last_poll": times.stamp(polled),
        "last_poll_seconds_ago": None if polled is None else round(now - polled, 1),
        "malformed": inbox["malformed"] if inbox else 0,
        "bus_clock_ahead_seconds": inbox["bus_ahead"] if inbox else None,
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
    with contextlib.suppress(OSError):
        found["disk_free_bytes"] = disk.free_bytes(ledger)
    _tell(found, low_disk(ledger))
