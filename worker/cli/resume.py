"""Start a paused transport again; what waited is delivered in order."""

import argparse

from worker.cli import pausing

EXAMPLES = """examples:
  bus-watch resume tmux
"""

configure = pausing.configure


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return pausing.set_paused(args, paused=False)
