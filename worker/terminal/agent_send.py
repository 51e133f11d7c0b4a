"""`agent-send`: an addressed message from one agent's tmux session to another's, on this host or over ssh."""

import os
import sys
from typing import TYPE_CHECKING

from worker.classes import CLASSES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from worker.terminal.tmux import Server

BAD_CLASS = 3

EXAMPLES = """\
examples:
  agent-send -s claude -m 'status on #29?'            a session on this host
  agent-send -H hadi@web1 -s installer -f notes.txt   a session on another host, over ssh
  echo done | agent-send -s lead -C terminal-log      a class: what the message is for
  agent-send --reply '[web1:lead -> here:me] status?' -m 'all green'
                                                      answer a received line
  agent-send --list -H hadi@web1                      the sessions one can reach there

The message goes out as `[src_host:src_session -> dst_host:dst_session] text`, with ` class=CLASS` inside the
bracket only when -C is given; an absent class means actionable.

environment:
  AGENT_SEND_SENDER   instead of this host and session: `host:session`; or, for tests, a program that is run
  as
                      `PROGRAM -t SESSION -b BASE64 ...` in place of the built-in submitter
  AGENT_SEND_SSH_CONFIG   a file to use instead of ~/.ssh/config
"""


def main(argv: "Sequence[str] | None" = None) -> int:
    """The command; gives its exit status."""
    from worker.terminal.command import guarded

    return guarded(lambda: _main(argv), "agent-send")


def _main(argv: "Sequence[str] | None") -> int:
    from worker.errors import UsageError
    from worker.terminal import command

    options = _parser().parse_args(command.glued(argv))
    if options.message_class is not None and options.message_class not in CLASSES:
        given = options.message_class or "(nothing)"
        print(f"agent-send: -C {given}: the class must be one of {', '.join(CLASSES)}", file=sys.stderr)
        return BAD_CLASS
    command.check_options(options)
    if options.list:
        from worker.terminal.listing import show

        return show(options)
    if options.reply is None and not options.session:
        raise UsageError("-s SESSION is required (agent-send --list shows the sessions)")

    from worker.terminal import preamble
    from worker.terminal.submit import TextError
    from worker.terminal.text import sanitise

    body = sanitise(command.read_text(options))
    if not body.strip():
        raise TextError("the text is empty: there is nothing to send")
    if options.reply is not None and (by_bus := _of_the_bus(options.reply)):
        return _answer_by_bus(by_bus, body, options)
    sender = os.environ.get("AGENT_SEND_SENDER", "")
    program = sender if "/" in sender and os.access(sender, os.X_OK) else ""
    source = options.source or ("" if program else sender)
    target, destination = options.session, ""
    if options.reply is not None:
        answered, destination, session = _flip(options)
        source, target = source or answered, target or session
    source = source or own_address()

    def compose(server: "Server | None") -> str:
        to = destination or f"{options.name or _host_name(server, options)}:{_session(server, target)}"
        return preamble.compose(source, to, options.message_class, body)

    if program:
        return _run_program(program, target, compose(None), options)
    return command.send(options, target, compose)


def own_address() -> str:
    """`host:session` of the caller: `hostname -s` and its tmux session, or `unknown` outside tmux."""
    session = ""
    if os.environ.get("TMUX"):
        from worker.terminal import arrival
        from worker.terminal.runner import LocalRunner

        pane = arrival.own_pane(os.environ)
        if pane or not arrival.is_below_app_server(os.environ):
            where = ["-t", pane] if pane else []
            asked = LocalRunner().run(["tmux", "-u", "display-message", "-p", *where, "#{session_name}"])
            session = asked.text.strip() if asked.status == 0 else ""
    return f"{_short_host()}:{session or 'unknown'}"


def _short_host() -> str:
    return os.uname().nodename.partition(".")[0]


def _host_name(server: "Server | None", options: "argparse.Namespace") -> str:
    """What `hostname -s` says on the pane's host."""
    if server is None:
        return str(options.host[0].rpartition("@")[2].partition(".")[0] if options.host else _short_host())
    if not server.runner.host:
        return _short_host()
    for question in (["hostname", "-s"], ["uname", "-n"]):
        answer = server.runner.run(question)
        if answer.status == 0 and answer.text.strip():
            return answer.text.strip().partition(".")[0]
    return server.runner.host.rpartition("@")[2]


def _session(server: "Server | None", target: str) -> str:
    """The session's name in a target; a pane's id is looked up."""
    if target.startswith("%") and server is not None:
        from worker.terminal.tmux import GoneError, RefusedError

        try:
            return server.candidates(target)[0].session
        except (GoneError, RefusedError):  # the submitter will say so
            return target
    return target.partition(":")[0]


def _flip(options: "argparse.Namespace") -> tuple[str, str, str]:
    """For an answer: its source, its destination and the session to send it to.

    Raises:
        UsageError: the line has no preamble, or comes from another host and no -H says how to get there. (A
        line is
            other people's text: it must not choose a host to connect to.)
    """
    from worker.errors import UsageError
    from worker.terminal import preamble

    received = preamble.parse(options.reply.strip() + " ")  # the preamble alone will do
    if received is None:
        raise UsageError("--reply: that line does not start with [src -> dst]")
    source, destination = preamble.flip(received)
    host, _, session = destination.rpartition(":")
    if not host:
        raise UsageError(f"--reply: {destination} is no agent on the bus and no terminal: nobody can be answered")
    if host != _short_host() and not options.host:
        raise UsageError(f"--reply: {destination} is on another host; say -H user@host")
    return source, destination, session


def _of_the_bus(line: str) -> list[str]:
    """The words of `bus-watch` that answer a line which the worker delivered; empty for a line of agent-send."""
    from worker.terminal import arrival

    came = arrival.read(line, which=0)
    if came is None or not came.line.startswith("[agent:"):
        return []
    if came.key:
        return ["reply", came.key]
    from worker.terminal import preamble

    addressed = preamble.parse(came.line)
    assert addressed is not None  # noqa: S101 - `read` has made the line
    return ["send", addressed.source.removeprefix("agent:"), "--as", addressed.destination]


def _answer_by_bus(words: list[str], body: str, options: "argparse.Namespace") -> int:
    """What came over the bus is answered there: the sender may be anywhere."""
    import subprocess

    argv = [sys.executable, "-m", "worker.cli.main", *words, "-"]
    argv += ["-C", options.message_class] if options.message_class else []
    argv += ["--json"] if options.json else []
    return subprocess.run(argv, input=body.encode(), check=False).returncode


def _run_program(program: str, target: str, line: str, options: "argparse.Namespace") -> int:
    """Hand the line to $AGENT_SEND_SENDER instead of the built-in submitter."""
    import base64
    import subprocess

    argv = [program, "-t", target, "-b", base64.b64encode(line.encode()).decode(), "-r", str(options.retries)]
    for host in options.host:
        argv += ["-H", host]
    return subprocess.run([*argv, *(["-v"] if options.verbose else [])], check=False).returncode


def _parser() -> "argparse.ArgumentParser":
    from worker.terminal import command

    parser = command.parser(
        "agent-send", "Send an addressed message to the agent in a tmux session, here or over ssh.", EXAMPLES
    )
    parser.epilog = f"{parser.epilog}  {BAD_CLASS}   -C is not one of the classes; nothing was sent"
    parser.add_argument(
        "-s",
        "--session",
        default="",
        metavar="SESSION",
        help="the destination: a session, or a pane as in send-message",
    )
    parser.add_argument(
        "-n", "--name", default="", help="the destination host's name in the preamble (default: it is asked)"
    )
    parser.add_argument(
        "-S",
        "--source",
        default="",
        metavar="LABEL",
        help="the source in the preamble (default: this host:session)",
    )
    parser.add_argument(
        "-C",
        "--class",
        dest="message_class",
        nargs="?",
        const="",
        metavar="CLASS",
        help=f"one of {', '.join(CLASSES)}",
    )
    command.add_text_options(parser)
    parser.add_argument("--reply", metavar="LINE", help="answer this received line: its preamble, flipped")
    parser.add_argument("--list", action="store_true", help="show the sessions one can reach, and the agents in them")
    command.add_pane_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
