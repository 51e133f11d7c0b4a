"""Print shell completion for bus-watch; needs the extra: pip install 'bus-watch[completion]'."""

import argparse
import sys

from worker.cli import main

EXAMPLES = """examples:
  bus-watch completion bash > ~/.local/share/bash-completion/completions/bus-watch
  bus-watch completion zsh > ~/.zfunc/_bus-watch
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    try:
        import shtab
    except ImportError:
        print("bus-watch completion: needs the extra: pip install 'bus-watch[completion]'", file=sys.stderr)
        return 69
    parser = argparse.ArgumentParser(prog="bus-watch")
    commands = parser.add_subparsers()
    for name, words in main.COMMANDS.items():
        commands.add_parser(name, help=words, parents=[main.command_parser(name, add_help=False)])
    print(shtab.complete(parser, args.shell))
    return 0
