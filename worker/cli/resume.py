"""Start a paused transport again; what waited is delivered in order."""

import argparse

from worker.cli import pause_or_resume

EXAMPLES = """examples:
  bus-watch resume tmux
"""

configure = pause_or_resume.configure


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return pause_or_resume.set_paused(args, paused=False)
