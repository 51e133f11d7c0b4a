"""Have the running worker read its configuration again now, and say what it took, or why it refused.

The worker looks at the file every second by itself. A configuration that it refuses changes nothing: that of before
stays in force, and what runs goes on either way. Exit status: 0 in force, 1 refused or no answer, 2 not running.
"""

import argparse
import json
import sys
import time
from typing import Any

from worker.cli import options, output
from worker.errors import ConfigError
from worker.ledger import configured, moved
from worker.ledger.living import living_workers
from worker.ledger.sweep_signal import RELOAD, send
from worker.settings import Settings
from worker.view import access

EXAMPLES = """examples:
  bus-watch reload                     after an edit: is it in force?
  bus-watch reload --json | jq '.workers[].needs_restart'
"""

LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 10.0
NOT_RUNNING = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument(
        "--timeout", type=options.duration, default=PATIENCE_SECONDS, metavar="DURATION",
        help=f"how long to wait for the worker's answer ({PATIENCE_SECONDS:g} s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    try:
        settings = options.settings(args)
    except ConfigError as error:
        if args.json:
            output.print_json({"reloaded": False, "workers": [], "error": str(error), "exit_status": 1})
        for line in [*str(error).splitlines(), "a worker that runs keeps the configuration of before"]:
            print(f"bus-watch reload: {line}", file=sys.stderr)
        return 1
    before = _consumers(settings)
    found = _answers(settings, before, args.timeout) if before else []
    status = NOT_RUNNING if not found else int(any(worker["error"] for worker in found))
    if args.json:
        output.print_json({"reloaded": status == 0, "workers": found, "error": None, "exit_status": status})
    elif not found:
        elsewhere = moved.runs_elsewhere(settings.files_dir)
        why = moved.sentence(elsewhere) if elsewhere else "no worker runs; it reads its configuration when it starts"
        print(f"bus-watch reload: {why}", file=sys.stderr)
    else:
        for worker in found:
            _tell(worker, settings)
    return status


def _consumers(settings: Settings) -> dict[str, Any]:
    """The rows of the workers that live, by id."""
    if not configured.is_begun(settings):
        return {}
    with access.ledger_of(settings) as db:
        return {row["id"]: row for row in living_workers(db, settings) if row["kind"] == "consumer"}


def _answers(settings: Settings, before: dict[str, Any], patience: float) -> list[dict[str, Any]]:
    """What each worker says once it has read its configuration; one that ends meanwhile says nothing."""
    send(settings.files_dir, RELOAD)
    end = time.monotonic() + patience
    while True:
        now = _consumers(settings)
        waiting = [
            worker
            for worker in before
            if worker in now and now[worker]["config_read_at"] == before[worker]["config_read_at"]
        ]
        if not waiting or time.monotonic() >= end:
            return [_answer(row, late=worker in waiting, patience=patience) for worker, row in now.items()]
        time.sleep(LOOK_SECONDS)


def _answer(row: Any, *, late: bool, patience: float) -> dict[str, Any]:
    error = row["config_error"]
    if late:
        error = f"no answer within {patience:g} s: it hangs, its ledger cannot be written, or it is an older version"
    return {
        "pid": row["pid"],
        "error": error,
        "agents": json.loads(row["serves"] or "{}"),
        "needs_restart": (row["needs_restart"] or "").split(", ") if row["needs_restart"] else [],
    }


def _tell(worker: dict[str, Any], settings: Settings) -> None:
    name = f"worker {worker['pid']}"
    if worker["error"]:
        print(f"bus-watch reload: {name}: {worker['error']}", file=sys.stderr)
        return
    print(f"{name}: {settings.config_path} is in force")
    for agent, transports in worker["agents"].items():
        print(f"  {agent}: {', '.join(transports) or 'no transport, so it is not polled'}")
    if worker["needs_restart"]:
        print(f"  not before a restart: {', '.join(worker['needs_restart'])}")
