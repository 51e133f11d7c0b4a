"""Stop starting a transport. Messages wait, in order; what runs, finishes."""

import argparse

from worker.cli import pausing

EXAMPLES = """examples:
  bus-watch pause tmux                 while you work in that pane yourself
  bus-watch resume tmux
"""

configure = pausing.configure


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return pausing.set_paused(args, paused=True)
