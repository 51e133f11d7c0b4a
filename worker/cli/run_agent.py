"""Start an agent in this pane with a server of its own, so that `wake` knows whose thread it shows.

Every plain `codex` of one user is served by one background server, on which two in one directory cannot be told apart:
their messages are typed. One that is started so has its own, which ends with it.
"""

import argparse

from worker.cli import sending

EXAMPLES = """examples:
  bus-watch run-agent codex                       in the pane where codex is to run
  bus-watch run-agent codex -- resume --last      what stands behind -- is codex's own
  tmux new-session -d -s codex bus-watch run-agent codex
"""
AGENTS = ("codex",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    sending.allow_intermixed(parser)
    parser.add_argument("name", metavar="NAME", choices=AGENTS, help="the agent: codex")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs="*", help="what the agent itself is given, behind --")
    parser.add_argument("--program", metavar="PATH", default="", help="the agent's program (default: NAME on PATH)")


def run(args: argparse.Namespace) -> int:
    """Run the command; the agent's exit status."""
    from worker.terminal.own_server import run_codex

    return run_codex(args.program or args.name, args.arguments)
