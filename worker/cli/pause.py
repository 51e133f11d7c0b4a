"""Stop starting a transport. Messages wait, in order; what runs, finishes."""

import argparse

from worker.cli import pause_or_resume

EXAMPLES = """examples:
  bus-watch pause tmux                 while you work in that pane yourself
  bus-watch resume tmux
"""

configure = pause_or_resume.configure


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return pause_or_resume.set_paused(args, paused=True)
