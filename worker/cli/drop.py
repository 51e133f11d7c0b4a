"""Cancel deliveries that are not done. What runs is cancelled when it ends; if it succeeds, it has succeeded."""

import argparse
import time

from worker.cli import changing
from worker.ledger import operate

EXAMPLES = """examples:
  bus-watch drop hadi-codex/1795300087770-0
  bus-watch drop --dead --transport tmux
"""

configure = changing.configure


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return changing.change(args, lambda tx, message: operate.drop(tx, message, args.transport, time.time()))
