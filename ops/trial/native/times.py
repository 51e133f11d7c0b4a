"""From `/send` to the agent's own record, by its channel and typed, in turn in one run."""

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.trial.cases import marker
from ops.trial.native.stack import Stack
from ops.trial.native.trial import ready_for_channels
from ops.trial.sessions import Session
from worker.terminal.channels.handed import BELOW_HOME

RECORDS = {
    "codex": ".codex/sessions/*/*/*/*.jsonl",
    "claude": ".claude/projects/*/*.jsonl",
    "opencode": ".local/share/opencode/*.db*",
    "pi": ".pi/agent/sessions/*/*.jsonl",
    "copilot": ".copilot/session-state/*/events.jsonl",
    "qwen": ".qwen/projects/*/chats/*.jsonl",
}
GLANCE = 0.01  # seconds between two looks at the record: what the figures are true to
PATIENCE = 40.0


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one UI: one for each way."""
    ui = ready_for_channels(options.ui)
    with Session(ui) as session:
        session.ready(300)
        place = ["-L", session.server.name, "-t", session.name]
        ways = {"by-channel": [*place, "--via", ui.name], "typed": [*place, "--via", "type"]}
        took: dict[str, list[float]] = {way: [] for way in ways}
        handed: list[float] = []
        lost = dict.fromkeys(ways, 0)
        # A run that is cut off keeps what was done.
        with contextlib.suppress(SystemExit), Stack(ways) as stack:
            for number in range(options.n + 3):  # the first ones make what is warm
                for way in ways:
                    began = time.time()
                    found = _one(session, lambda text, to=way: stack.send(to, text))  # type: ignore[misc]
                    if number < 3:
                        continue
                    if found is None:
                        lost[way] += 1
                        continue
                    took[way].append(found[1])
                    handed += [at - found[0] for at in _handed(stack.home) if at > began]
    return [
        {
            "ui": ui.name,
            "version": ui.package.version,
            "case": f"/send to its record, {way}",
            "sent": len(took[way]) + lost[way],
            "lost": lost[way],
            "p50_ms": _quantile(took[way], 0.5),
            "p95_ms": _quantile(took[way], 0.95),
            "all_ms": [round(1000 * one) for one in took[way]],
            "handed_ms": [round(1000 * one) for one in handed] if way == "by-channel" else [],
            "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            "load": round(os.getloadavg()[0]),
        }
        for way in ways
    ]


def _handed(home: Path) -> list[float]:
    """When the worker's messages were handed to a channel: from there on it is the agent that takes the time."""
    return [one.stat().st_mtime for one in (home / BELOW_HOME / "handed").glob("*")]


def _one(session: Session, send: Callable[[str], float]) -> tuple[float, float] | None:
    """When it was sent, and the seconds until its record had it; None: it never had."""
    mark = marker()
    time.sleep(1.2)  # so that the token's budget is never what is measured, and the agent is idle
    session.server.still(session.pane, quiet=0.5, limit=10)
    record = _Record(session.home, RECORDS[session.ui.name])
    sent = send(f"please look at this {mark}")
    end = time.monotonic() + PATIENCE
    while not record.has(mark.encode()):
        if time.monotonic() > end:
            return None
        time.sleep(GLANCE)
    return sent, time.time() - sent


class _Record:
    """The agent's own files, read as they grow; a database's log is written in place, so it is read whole."""

    def __init__(self, home: Path, pattern: str) -> None:
        self._home, self._pattern = home, pattern
        self._read = {path: path.stat().st_size for path in home.glob(pattern) if path.suffix == ".jsonl"}

    def has(self, mark: bytes) -> bool:
        for path in self._home.glob(self._pattern):
            start = max(0, self._read.get(path, 0) - len(mark))
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
            if mark in data:
                return True
            if path.suffix == ".jsonl":
                self._read[path] = start + len(data)
        return False


def _quantile(values: list[float], share: float) -> int | None:
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else None
