"""Cancel deliveries that are not done. What runs is cancelled when it ends; if it succeeds, it has succeeded."""

import argparse

from worker.cli import retry_or_drop
from worker.ledger import operate, outbox

EXAMPLES = """examples:
  bus-watch drop hadi-codex/1795300087770-0
  bus-watch drop --dead --transport tmux     tmux's dead letters; other transports' deliveries stay
"""

configure = retry_or_drop.configure


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return retry_or_drop.change(args, operate.drop, outbox.drop)
