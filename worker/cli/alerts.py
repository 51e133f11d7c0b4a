"""Show the alerts that are open, and the channels that tell of them.

`--test` tells a test alert by one channel, or by all, now and from here: no worker is needed. What the worker tells is
a delivery like any other: see `bus-watch history --agent @alerts`. Exit status: 0, or 1 where a channel failed.
"""

import argparse
import os
import subprocess
import time
from typing import Any

from worker import times
from worker.alert_settings import ALERTS
from worker.cli import options, output
from worker.cli.guess import did_you_mean
from worker.errors import BusWatchError, UsageError
from worker.settings import Settings
from worker.telemetry.redact import redact

EXAMPLES = """examples:
  bus-watch alerts                     what have people been told of?
  bus-watch alerts --test phone        does it ring?
  bus-watch retry --dead               tell again what could not be told
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    options.add_color(parser)
    parser.add_argument(
        "--test", nargs="?", const="", metavar="CHANNEL", help="tell a test alert by this channel, or by all"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    if args.test is not None:
        return _test(settings, args.test, as_json=args.json)
    from worker.view.alerts import open_alerts

    found = open_alerts(settings)
    if args.json:
        output.print_json(found)
    else:
        output.write(text(found), args.color)
    return 0


def text(found: dict[str, Any]) -> str:
    """What a person reads."""
    lines = [f"open: {len(found['open']) or 'none'}"]
    for one in found["open"]:
        clear = f" (not any more since {one['clear_since']})" if one["clear_since"] else ""
        said = f"! {one['condition']}, for {times.span(one['seconds'])}{clear}: {one['words']}"
        lines.append(output.wrapped(said, indent="  "))
    lines += [f"channel: {one['name']} ({one['type']}): {_tells(one)}" for one in found["channels"]]
    if not found["channels"]:
        lines.append("channels: none; see alerts in docs/reference.md")
    return "\n".join(lines) + "\n"


def _tells(channel: dict[str, Any]) -> str:
    of = "everything" if channel["conditions"] is None else ", ".join(channel["conditions"])
    waits = [f"{channel[state]} {state}" for state in ("waiting", "retrying", "running", "dead") if channel[state]]
    return f"tells of {of}" + (f"; {', '.join(waits)}" if waits else "")


def _test(settings: Settings, name: str, *, as_json: bool) -> int:
    names = [channel.name for channel in settings.alerts.channels]
    if not names:
        raise UsageError("no channel is configured; see alerts in docs/reference.md")
    if name and name not in names:
        raise UsageError(f"there is no channel {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}")
    results = [_told(settings, one) for one in ([name] if name else names)]
    if as_json:
        output.print_json(results)
    else:
        for result in results:
            print(f"{'ok' if result['told'] else 'FAIL'} {result['channel']}: {result['words']}")
    return int(not all(result["told"] for result in results))


def _told(settings: Settings, name: str) -> dict[str, Any]:
    """Run what the worker would run, as it would run it."""
    from worker.engine.alerting import Telling
    from worker.transports.command import Command, Envelope

    now = time.time()
    transport = settings.transport(ALERTS, name)
    assert transport is not None  # noqa: S101 - it is one of the channels
    words = "a test: this is how an alert arrives"
    told = Telling(event="opened", condition="test", about="", summary=words, opened_at=now)
    envelope = Envelope(
        agent=ALERTS, project="", stream="", message_id="", source="bus-watch", message_class="", timestamp="",
        text=told.text(now), key=f"{ALERTS}/test-{int(now * 1000)}", attempt=1,
    )  # fmt: skip
    try:
        command = Command(
            transport.templates, allowlist=settings.allowed_for(ALERTS), extra_env=transport.env, stdin=True
        )
        prepared = command.prepare(envelope)
        done = subprocess.run(
            [os.fsdecode(part) for part in prepared.argv],
            env={os.fsdecode(key): os.fsdecode(value) for key, value in prepared.env.items()},
            input=prepared.stdin, capture_output=True, timeout=transport.timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"channel": name, "told": False, "words": f"nothing within {transport.timeout:g} s"}
    except BusWatchError as error:
        return {"channel": name, "told": False, "words": redact(str(error))}
    said = (done.stdout or done.stderr).decode("utf-8", "replace").strip().splitlines()
    return {
        "channel": name,
        "told": done.returncode == 0,
        "words": redact(said[-1]) if said else f"exit {done.returncode}",
    }
