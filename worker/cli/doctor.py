"""Check configuration, token, transports and bus before running.

Each check prints `ok`, `note` or `FAIL` with the fix; the last line is `OK config valid`, or how many problems there
are, and the exit status says the same. The bus is asked for one page of each inbox; --offline leaves that out. Nothing
is changed.
"""

import argparse

from worker.cli import options, output
from worker.view.plain import one_line

_BY = {"type": "typing", "": "no way"}

EXAMPLES = """examples:
  bus-watch doctor
  bus-watch doctor --offline           without the bus
  bus-watch doctor --channels          which way a message would go to each agent, and why no better one
  bus-watch doctor --probe             has an agent's UI changed? Looks at its pane, types nothing
  bus-watch doctor --json | jq '.checks[] | select(.state == "FAIL")'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument(
        "--probe", action="store_true", help="look at each pane, too: is its screen one that the profile explains?"
    )
    parser.add_argument(
        "--channels", action="store_true", help="only this: which way a message would go to each agent, and why"
    )
    parser.add_argument("--offline", action="store_true", help="do not ask the bus")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from worker import configuration
    from worker.doctor.examination import examine

    if args.channels:
        return _channels(args)
    config = configuration.config_path(args.config)
    findings = []
    for finding in examine(config, offline=args.offline, probe=args.probe):
        findings.append(finding)
        if not args.json:
            print(finding, flush=True)
    problems = sum(finding.state == "FAIL" for finding in findings)
    if args.json:
        checks = [finding.as_json() for finding in findings]
        output.print_json({"ok": not problems, "problems": problems, "config": str(config), "checks": checks})
    else:
        if problems:
            print(f"how to mend what is not said above: {_runbook()}")
        print(f"FAIL {problems} problem(s)" if problems else "OK config valid")
    return 1 if problems else 0


def _channels(args: argparse.Namespace) -> int:
    """The table of `--channels`: a row for each way, and below it why no better one."""
    import textwrap

    from worker.doctor import ways

    found = list(ways.of_all(options.settings(args)))
    if args.json:
        output.print_json([one.as_json() for one in found])
        return 0
    if not found:
        output.write("no transport is a `wake` on this host\n")
        return 0
    cells = [
        (one.agent, " ".join(filter(None, [one.ui, one.version])) or "-", one.pane or "-", _BY.get(one.by, one.by))
        for one in found
    ]
    heading, *rows = output.table(cells, ("AGENT", "WHO IS THERE", "PANE", "BY")).splitlines()
    lines = [heading]
    for row, one in zip(rows, found, strict=True):
        lines.append(row)
        for why in one.why_not:
            words = one_line(f"not by {why}" if ":" in why and one.by else why, 400)
            lines += textwrap.wrap(words, 78, initial_indent="    ", subsequent_indent="      ")
    output.write("\n".join(lines) + "\n")
    return 0


def _runbook() -> str:
    """Where the runbook is: a wheel carries it, a checkout has it among its scripts."""
    from importlib.resources import files
    from pathlib import Path

    package = Path(str(files("worker")))
    carried = package / "share" / "runbook.md"
    return str(carried if carried.exists() else package.parent / "ops" / "runbook.md")
