"""Let dead, held or cancelled deliveries wait again, with fresh attempts; a retrying one becomes due now.

Refused for what runs or has succeeded: nothing is ever delivered twice by this command.
"""

import argparse

from worker.cli import retry_or_drop
from worker.ledger import operate, outbox

EXAMPLES = """examples:
  bus-watch retry hadi-codex/1795300087770-0
  bus-watch retry --dead               every dead letter, after the cause is mended
"""

configure = retry_or_drop.configure


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return retry_or_drop.change(args, operate.retry, lambda tx, number, _now: outbox.retry(tx, number))
