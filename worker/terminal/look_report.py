"""`send-message --look`: what a look at a pane found, for people and as JSON.

Promises: whatever a screen, a title or a process name holds, no control character and no change of writing direction
of theirs is printed; in JSON they are escaped.
"""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from worker.terminal import command
from worker.terminal.catalogue import Catalogue
from worker.terminal.looking import Examined, drifted, examine
from worker.terminal.tmux import GoneError, RefusedError, TmuxError

_MARGIN = 9  # columns for the first word of each line
_SHOWN = 400  # characters of a draft, for people


def run(options: argparse.Namespace) -> int:
    """Look at every pane that the target means; 0: there was one to look at, 69: there is none."""
    loaded = command.load_profiles()
    command.check_agent(options.agent, loaded)
    worst = 0
    for host in options.host or [""]:
        worst = max(worst, _look(options, host, loaded))
    return worst


def _look(options: argparse.Namespace, host: str, loaded: Catalogue) -> int:
    from worker.terminal.runner import HostError

    try:
        server = command.connect(options, host)
    except HostError as why:
        return _failed(options, host, why)
    try:
        for pane in server.candidates(options.target):
            found = examine(server, pane, loaded, options.agent)
            if options.json:
                print(_escaped(json.dumps(as_json(found), ensure_ascii=False)), flush=True)
            else:
                print("\n".join(lines(found)), flush=True)
    except (GoneError, RefusedError, TmuxError, HostError) as why:
        return _failed(options, host, why)
    finally:
        server.runner.close()
    return 0


def _failed(options: argparse.Namespace, host: str, why: Exception) -> int:
    if options.json:
        print(_escaped(json.dumps({"pane": "", "host": host, "would": "gone", "why": str(why)}, ensure_ascii=False)))
    else:
        print(f"gone{f' on {host}' if host else ''}: {plain(str(why))}", file=sys.stderr)
    return GoneError.exit_status


def as_json(found: Examined) -> dict[str, Any]:
    """The whole of it; keys only ever grow."""
    look, seen = found.look, found.seen
    box = seen.box if seen is not None else None
    return {
        "pane": found.pane.id,
        "place": f"{found.pane.session}:{found.pane.window}.{found.pane.index}",
        "host": found.host,
        "processes": [
            {"pid": one.pid, "names": sorted(one.names), "script": one.script, "age": round(one.age, 1)}
            for one in found.group
        ],
        "agent": found.profile.name if found.profile is not None else "",
        "matched": found.matched,
        "others": found.others,
        "version": found.version,
        "measured": found.measured,
        "state": found.state,
        "busy": seen.busy if seen is not None else False,
        "queued": seen.queued if seen is not None else False,
        "would": found.would,
        "why": found.why,
        "box": None
        if box is None
        else {
            "first": box.first,
            "last": box.last,
            "empty": box.empty,
            "clipped": box.clipped,
            "rows": [row.text for row in seen.rows[box.first : box.last + 1]] if seen is not None else [],
        },
        "draft": box.draft if box is not None else None,
        "cursor": None if look is None else {"x": look.cursor_x, "y": look.cursor_y, "shown": look.cursor_on},
        "size": None if look is None else {"width": look.width, "height": look.height},
        "title": look.title if look is not None else "",
        "in_mode": look.in_mode if look is not None else False,
        "records": [{"path": one.path, "bytes": one.bytes, "modified": one.modified} for one in found.records],
        "channels": found.channels,
        "alike": found.alike,
    }


def lines(found: Examined) -> Iterator[str]:
    """For people, in 80 columns or as many as the terminal has."""
    pane = found.pane
    yield from _said("pane", f"{pane.id} ({pane.session}:{pane.window}.{pane.index}){_on(found.host)}")
    for one in found.group:
        script = f", runs {one.script}" if one.script else ""
        yield from _said("process", f"{one.pid}, called {', '.join(sorted(one.names))}{script}, for {one.age:.0f} s")
    yield from _said("agent", f"{found.profile.name}: {found.matched}" if found.profile is not None else "none")
    if found.profile is not None:
        runs = f"{found.version or 'cannot be told'}, the profile was measured on {found.measured or 'none'}"
        yield from _said("version", drifted(found.version, found.measured) or runs)
    state = found.state if found.profile is not None else found.would
    yield from _said("state", f"{state}: {found.why}")
    yield from _said("message", _WOULD[found.would])
    for name, reason in found.channels.items():
        yield from _said("channel", f"{name}: {'reaches this session, for wake' if not reason else f'no: {reason}'}")
    if (look := found.look) is not None:
        shown = "shown" if look.cursor_on else "hidden"
        mode = ", in one of tmux's modes" if look.in_mode else ""
        yield from _said(
            "cursor", f"column {look.cursor_x}, row {look.cursor_y} of {look.width}x{look.height}, {shown}{mode}"
        )
        yield from _said("title", look.title or "none")
    yield from _box(found)
    if found.profile is not None and found.profile.record is not None:
        for file in found.records[:3]:
            at = datetime.fromtimestamp(file.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            yield from _said("record", f"{file.path}, {file.bytes} bytes, written {at}")
        if not found.records:
            yield from _said("record", "none found" if not found.host else "cannot be read from this host")
    for name in found.alike:
        yield from _said(
            "alike", f"by {name}'s profile an empty box stands at the cursor: --agent {name} would type here"
        )
    for name, why in found.others.items():
        yield from _said("not", f"{name}: {why}")


def _box(found: Examined) -> Iterator[str]:
    box = found.seen.box if found.seen is not None else None
    if found.profile is None or found.profile.composer is None or found.seen is None:
        return
    if box is None:
        yield from _said("box", "none at the cursor")
        if found.look is not None:
            for row in found.seen.rows[max(0, found.look.cursor_y - 2) : found.look.cursor_y + 1]:
                yield f"{'':{_MARGIN}}| {plain(row.text)}"
        return
    yield from _said("box", f"rows {box.first} to {box.last}{', its start is out of sight' if box.clipped else ''}")
    for row in found.seen.rows[box.first : box.last + 1]:
        yield f"{'':{_MARGIN}}| {plain(row.text)}"
    if box.empty:
        yield from _said("draft", "none")
    else:
        shown = box.draft if len(box.draft) <= _SHOWN else box.draft[:_SHOWN] + "…"
        yield from _said("draft", repr(shown) if shown.strip() else "blanks only, or the cursor was moved")


_WOULD = {
    "submitted": "would be typed",
    "deferred": "would be held back (75)",
    "refused": "would be refused (69)",
    "gone": "would find nobody (69)",
}


def _on(host: str) -> str:
    return f" on {host}" if host else ""


def _said(what: str, text: str) -> Iterator[str]:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    room = max(40, width)
    head = f"{what:<{_MARGIN}}"
    yield from textwrap.wrap(
        head + plain(text), room, subsequent_indent=" " * _MARGIN, break_on_hyphens=False, drop_whitespace=True
    ) or [head.rstrip()]


def plain(text: str) -> str:
    """Somebody else's text without anything that a terminal obeys."""
    return "".join(one if one.isprintable() else " " if one in "\t\n" else "\ufffd" for one in text).rstrip()


def _escaped(text: str) -> str:
    """JSON in which what does not print is escaped: a terminal may show it."""
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
