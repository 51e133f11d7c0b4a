"""`send-message`: submit one text to one tmux pane, and prove it."""

import os
import sys
from typing import TYPE_CHECKING

from worker.classes import CLASSES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

EXAMPLES = """\
examples:
  send-message -t claude -m 'run the tests again'      the pane of session `claude`
  send-message -t work:editor.1 -f notes.txt --json    one pane of a window, the report as JSON
  git diff --stat | send-message -t %3                 a pane by its id, the text from standard input
  send-message -t repl --agent generic --accept unproven -m '1 + 1'   any program that is not a shell
  send-message --look -t claude                        what a message would meet there; types nothing
  send-message --from-bus -t claude                    a transport of bus-watch: the text on standard
                                                       input, the preamble from SOS_MESSAGE_SOURCE,
                                                       SOS_AGENT and SOS_MESSAGE_CLASS
"""


def main(argv: "Sequence[str] | None" = None) -> int:
    """The command; gives its exit status."""
    from worker.terminal.command import guarded

    return guarded(lambda: _main(argv), "send-message")


def _main(argv: "Sequence[str] | None") -> int:
    from worker.errors import UsageError
    from worker.terminal import command

    options = _parser().parse_args(command.glued(argv))
    command.check_options(options)
    if options.look:
        from worker.terminal import look_report

        return look_report.run(options)
    if options.from_bus and (options.message is not None or options.base64 is not None):
        raise UsageError("--from-bus takes the text from standard input or -f")
    if options.from_bus:
        return send_from_bus(options)
    text = command.read_text(options)
    return command.send(options, options.target, lambda _server: text)


def send_from_bus(options: "argparse.Namespace") -> int:
    """Send a message of the bus as the options say; gives the exit status."""
    from worker.terminal import command

    text = from_bus(command.read_text(options), os.environ.get)
    return command.send(options, options.target, lambda _server: text)


def from_bus(text: str, variable: "Callable[[str, str], str]") -> str:
    """The line for a message of the bus: our own preamble, made from the transport's environment.

    The address in a body is never trusted: every line of it that looks like a preamble is quoted. Where several
    messages come together the worker has done all this (`worker.engine.coalescing`); no message can set that variable.
    """
    from worker.terminal import preamble
    from worker.terminal.text import sanitise

    if variable("SOS_MESSAGE_COUNT", "").isdigit():
        return sanitise(text)
    source = variable("SOS_MESSAGE_SOURCE", "") or "unknown"
    agent = variable("SOS_AGENT", "") or "unknown"
    text = sanitise(text)
    own = preamble.parse(text)
    if own is not None and (own.source, own.destination) == (source.removeprefix("agent:"), agent):
        text = own.body  # the sender's own preamble, which brought the class: it says what ours will say
    body = preamble.quote_forged(text)
    given = variable("SOS_MESSAGE_CLASS", "")
    chosen = given if given in CLASSES else None
    return preamble.prefix(source, agent, chosen) + body


def _parser() -> "argparse.ArgumentParser":
    from worker.terminal import command

    def more(parser: command.Parser) -> None:
        parser.add_argument(
            "--look",
            action="store_true",
            help="type nothing: say who and what is in the pane, and why; for bug reports",
        )
        parser.add_argument("--from-bus", action="store_true", help="put the preamble of a bus message in front")

    return command.pane_parser(
        "send-message",
        "Submit one text to the agent in one tmux pane, as one prompt, and prove it. "
        "It never types into a shell, a dialog or somebody's draft.",
        EXAMPLES,
        more=more,
    )


if __name__ == "__main__":
    sys.exit(main())
