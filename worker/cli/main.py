"""`bus-watch`: finds the command, imports only that one, and turns our errors into one line and an exit status."""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from worker import __version__
from worker.cli.guess import did_you_mean
from worker.errors import BusWatchError, UsageError
from worker.sandbox import way_out
from worker.telemetry.redact import redact

COMMANDS: dict[str, str] = {
    "install": "write a configuration, and service files if asked to",
    "uninstall": "take away the service files that install wrote",
    "doctor": "check configuration, token, transports and bus before running",
    "status": "show whether it runs, how the bus is, and what waits",
    "send": "send a message to another agent, durably",
    "reply": "answer a message, by default the last one that came",
    "test-send": "send a probe message through the bus",
    "run": "poll, wake transports, record deliveries (--once: what is there now)",
    "reload": "have the running worker read its configuration again now",
    "agent": "add, remove or list the agents of a configuration",
    "run-agent": "start an agent in this pane with a server of its own",
    "profile": "make a profile for an agent that has none, and try it",
    "queue": "show what waits, runs, retries, is held or dead, and why",
    "alerts": "show the alerts that are open, or try a channel",
    "top": "all agents and what waits for them, live, with keys",
    "web": "the same as a page in a browser, on loopback",
    "show": "tell the whole story of one message",
    "history": "list messages that came, newest first",
    "wait": "wait until a message is in a state",
    "events": "print every change of a state, or follow them",
    "hook": "serve a webhook that wakes an agent",
    "mcp": "serve an agent's messages as tools (MCP, on standard input and output)",
    "retry": "let dead, held or cancelled deliveries wait again",
    "drop": "cancel deliveries that are not done",
    "purge": "forget messages that are over",
    "pause": "stop starting a transport; messages wait",
    "resume": "start a paused transport again",
    "hosts": "show the hosts of a fleet, or forget one",
    "move": "move an agent to another host of a fleet",
    "ledger": "check the ledger, back it up, or move it to a server",
    "bus": "serve the embedded loopback bus",
    "completion": "print shell completion",
}

EXAMPLES = """examples:
  bus-watch install --agent hadi-codex --token-file ~/.sos/token --tmux codex
  bus-watch doctor && bus-watch run
  bus-watch queue                      why did it not wake?

Every command has --help with examples of its own.
"""


class CommandParser(argparse.ArgumentParser):
    """argparse, with the exit status that usage errors have here (64, EX_USAGE).

    `intermixed`: options may stand between an argument and one that may be left out (`send bob -C human TEXT`).
    """

    intermixed = False

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        self.print_usage(sys.stderr)
        self.exit(UsageError.exit_status, f"{self.prog}: {message}\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse's, with a guess at what an unknown option was to be."""
        parse = self.parse_known_intermixed_args if self.intermixed else self.parse_known_args
        found, rest = parse(None if args is None else _glued(args), namespace)
        if rest:
            self.error("unrecognized arguments: " + " ".join(map(self._with_guess, rest)))
        return found

    def _with_guess(self, word: str) -> str:
        known = [option for action in self._actions for option in action.option_strings]
        return word + did_you_mean(word.partition("=")[0], known) if word.startswith("-") else word


def _glued(arguments: Sequence[str]) -> list[str]:
    """`--tmux -dash` as one word: a session's name may start like an option."""
    words, joined = iter(arguments), list[str]()
    for word in words:
        name = next(words, None) if word == "--tmux" else None
        joined += [word] if name is None else [f"--tmux={name}"] if name[:2] != "--" else [word, name]
    return joined


def overview() -> CommandParser:
    """The parser of `bus-watch` itself; commands add theirs when they are used."""
    parser = CommandParser(
        prog="bus-watch",
        description="A durable delivery worker between an agent message bus and the agent.",
        epilog=_listing() + "\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="bus-watch COMMAND [options]",
    )
    parser.add_argument("--version", action="version", version=f"bus-watch {__version__}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    return parser


def _listing() -> str:
    width = max(map(len, COMMANDS))
    return "commands:\n" + "".join(f"  {name:<{width}}  {words}\n" for name, words in COMMANDS.items())


def command_parser(name: str, *, add_help: bool = True) -> CommandParser:
    """The parser of one command; imports its module."""
    module = importlib.import_module(f"worker.cli.{name.replace('-', '_')}")
    parser = CommandParser(
        prog=f"bus-watch {name}",
        description=module.__doc__,
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=add_help,
    )
    module.configure(parser)
    parser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _open_standard_streams()
    arguments = _config_behind(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of ASCII is no reason to fail
    try:
        try:
            return _dispatch(arguments)
        finally:
            sys.stdout.flush()  # here and not at exit, where Python would report what is handled below
    except BusWatchError as error:
        print(f"bus-watch {name}: {redact(str(error))}", file=sys.stderr)
        if error.exit_status != UsageError.exit_status and (words := way_out(os.environ)):
            print(f"bus-watch {name}: {words}", file=sys.stderr)
        return error.exit_status
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"worker", "tasks", ""}:
            raise
        print(
            f"bus-watch {name}: this installation is incomplete, {error.name} is missing: "
            "install it again with its dependencies (pip install, without --no-deps)",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # `bus-watch history | head`
        _forget_output()
        return 0
    except OSError as error:  # `bus-watch history > /a/full/disk`
        _forget_output()
        print(f"bus-watch {name}: {redact(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _open_standard_streams() -> None:
    """What was closed (`>&-`) leads nowhere: else the next file that is opened would stand in its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.dup2(nowhere := os.open(os.devnull, os.O_RDWR), number)
                if nowhere > 2:
                    os.close(nowhere)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - a descriptor, for as long as we live


def _dispatch(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments else None
    if name not in COMMANDS:
        parser = overview()
        if name is None:
            parser.print_help(sys.stderr)
            return UsageError.exit_status
        parser.parse_known_args(arguments)
        if name.startswith("-"):
            parser.error(f"name a command first: bus-watch COMMAND {' '.join(arguments)}; see bus-watch --help")
        parser.error(f"there is no command {name!r}{did_you_mean(name, COMMANDS)}; see bus-watch --help")
    args = command_parser(name).parse_args(arguments[1:])
    return int(args.run(args))


def _config_behind(arguments: Sequence[str]) -> list[str]:
    """`bus-watch --config X status` means `bus-watch status --config X`."""
    if arguments and arguments[0].startswith("--config="):
        return [*arguments[1:2], arguments[0], *arguments[2:]]
    if len(arguments) > 2 and arguments[0] == "--config":
        return [arguments[2], *arguments[:2], *arguments[3:]]
    return list(arguments)


def _forget_output() -> None:
    """What could not be written must not be tried again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
