"""`agent-send --list`: the sessions one can reach, and which agents run in them."""

import argparse
import json
import sys

from worker.errors import BusWatchError
from worker.terminal import command, processes
from worker.terminal.catalogue import Catalogue
from worker.terminal.profiles import ProfileError
from worker.terminal.tmux import Server


def show(options: argparse.Namespace) -> int:
    """Print one line a pane: session, pane, agent or program. Gives the worst exit status of the hosts."""
    loaded = command.load_profiles()
    worst = 0
    for host in options.host or [""]:
        try:
            server = command.connect(options, host)
            try:
                rows = panes(server, loaded)
            finally:
                server.runner.close()
        except BusWatchError as why:
            print(f"agent-send: {why}", file=sys.stderr)
            worst = max(worst, why.exit_status)
            continue
        for row in rows:
            if options.json:
                print(json.dumps({"host": host, **row}, ensure_ascii=False))
            else:
                place = f"{row['session']}:{row['window']}.{row['index']}"
                words = [f"{place:<24}", f"{row['pane']:<5}", f"{row['agent'] or '-':<10}", row["runs"]]
                print(*filter(None, [host]), *words)
    return worst


def panes(server: Server, loaded: Catalogue) -> list[dict[str, str]]:
    """Each pane under each of its names: `session window index pane agent runs`; `agent` is empty if none is known."""
    rows = []
    groups: dict[str, list[processes.Process]] = {}
    for pane in sorted(server.panes(), key=lambda one: (one.session, one.window, one.index)):
        if pane.id not in groups:
            groups[pane.id] = [] if pane.dead else processes.foreground(server.runner, pane.tty, pane.pid)
        group = groups[pane.id]
        agent = ""
        try:
            if (known := loaded.knowing(group)) is not None:
                agent = known[0].name
        except ProfileError as why:
            print(f"agent-send: {why}", file=sys.stderr)
        runs = "dead" if pane.dead else ", ".join(sorted({one.name for one in group})) or "unknown"
        row = {"session": pane.session, "window": pane.window, "index": pane.index, "pane": pane.id}
        rows.append({**row, "agent": agent, "runs": runs})
    return rows
