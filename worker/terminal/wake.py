"""`wake`: the built-in transport of bus-watch, one message of the bus into the agent of one pane by the best way."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

EXAMPLES = """\
examples:
  wake -t claude                     as a transport with "stdin": true: the text on standard input, who it is
                                     from in SOS_MESSAGE_SOURCE, SOS_AGENT and SOS_MESSAGE_CLASS
  echo hello | wake -t codex --json  by hand: which way it went, and what proves it
  wake -t codex --via native         never type; 69 where no channel of the agent's own reaches the session
  wake -t codex --via type           only type, as `send-message --from-bus` does
"""


def main(argv: "Sequence[str] | None" = None) -> int:
    """The command; gives its exit status."""
    from worker.terminal.command import guarded

    return guarded(lambda: _main(argv), "wake")


def _main(argv: "Sequence[str] | None") -> int:
    import os

    from worker.terminal import command
    from worker.terminal.channels.names import CHANNELS
    from worker.terminal.send_message import send_from_bus

    options = _parser().parse_args(command.glued(argv))
    command.check_options(options)
    if os.environ.get("SOS_MESSAGE_CLASS") == "human" and options.authority == "any" and options.via not in CHANNELS:
        options.authority = "user"  # a person's own words; an owner who names the channel means it
    return send_from_bus(options)


def _parser() -> "argparse.ArgumentParser":
    from worker.terminal import command

    return command.pane_parser(
        "wake",
        "Wake the agent in one tmux pane with a message of the bus: by a channel of the agent's own, which "
        "does not touch its screen, where one surely reaches the session that the pane shows; else by typing it.",
        EXAMPLES,
        via="auto",
    )


if __name__ == "__main__":
    sys.exit(main())
