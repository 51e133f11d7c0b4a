"""Show all agents and what waits for them, live, with the keys that help.

One line an agent, worst first; below, what waits for the chosen one and why. Every key is a command of the command
line, and says which. Panes are looked at, and nothing is typed. Needs the extra: pip install 'bus-watch[ui]'.
"""

import argparse
import sys

from worker.cli import options
from worker.errors import UsageError

EXAMPLES = """examples:
  bus-watch top
  bus-watch top --config ~/team/bus-watch.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = options.settings(args)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal; elsewhere: bus-watch status, bus-watch queue --watch")
    try:
        from worker.ui.top import Top
    except ImportError:
        print("bus-watch top: needs the extra: pip install 'bus-watch[ui]'", file=sys.stderr)
        return 69
    Top(settings).run()
    return 0
