"""Take away the service files that install wrote.

Exactly those: a file that was changed since is left, and said. Configuration, token and ledger stay, unless --purge
says otherwise; the old watcher's files always stay. It refuses while the worker runs, and says how to stop it.
"""

import argparse

from worker.cli import options

EXAMPLES = """examples:
  bus-watch uninstall                  services only; install brings them back
  bus-watch uninstall --purge          configuration and ledger too: what waits is lost
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    parser.add_argument("--purge", action="store_true", help="also remove what it was told and what it remembers")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from worker import configuration
    from worker.install import files
    from worker.install.uninstall import uninstall

    config = configuration.config_path(args.config).absolute()
    count = 0
    with files.alone(config):
        for sentence in uninstall(config, purge=args.purge):
            print(sentence)
            count += 1
    if not count:
        print("nothing to do: install wrote no service files for this configuration")
    return 0
