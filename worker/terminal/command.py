"""What `send-message` and `agent-send` share: their options, the text's sources, the report of an outcome."""

import argparse
import contextlib
import io
import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from worker.errors import BusWatchError, UsageError
from worker.sandbox import way_out
from worker.terminal.channels.names import AUTHORITY, CHANNELS, TYPE, VIA

if TYPE_CHECKING:  # these commands start fast: what sending needs is imported when they send
    from collections.abc import Callable, Sequence

    from worker.terminal.catalogue import Catalogue
    from worker.terminal.submit import Outcome
    from worker.terminal.tmux import Server

DETAILS = """\
exit status:
  0   submitted or queued: proven by the agent's own record, its queue or its screen
  64  usage       65  text that cannot be sent
  69  gone or refused: no such pane, or it runs a shell or something unknown; nothing was typed
  75  deferred: somebody's draft, a dialog, a busy agent; nothing was typed, try again later
  76  unproven: typed or handed over, but nothing proves that it arrived; look before you send it again
"""


_ANYTHING = {"-m": "--message", "-t": "--target", "-s": "--session"}  # options whose values may start with `-`
_ANYTHING |= {long: long for long in _ANYTHING.values()}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours (exit 64); to it a message is a message, whatever it starts with."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


class _Layout(argparse.RawDescriptionHelpFormatter):
    """argparse makes one for each option that is added, and looks up the terminal's size each time."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=78)


def parser(prog: str, description: str, examples: str) -> Parser:
    """The parser of one of the commands, as yet without options."""
    return Parser(prog=prog, description=description, epilog=f"{examples}\n{DETAILS}", formatter_class=_Layout)


def pane_parser(
    prog: str,
    description: str,
    examples: str,
    *,
    via: str = TYPE,
    more: "Callable[[Parser], None]" = lambda _: None,
) -> Parser:
    """The parser of a command that wants one pane and one text; `more` adds what only this one has."""
    made = parser(prog, description, examples)
    _add_target(made)
    add_text_options(made)
    more(made)
    add_pane_options(made, via)
    return made


def glued(argv: "Sequence[str] | None") -> list[str]:
    """`argv` (None: this process's) with each message and each session's name in one word with its option.

    argparse takes `---` or `--help` behind it for an option of its own.
    """
    argv = sys.argv[1:] if argv is None else argv
    words, joined = iter(argv), list[str]()
    for word in words:
        if word == "--":
            return [*joined, word, *words]
        text = next(words, None) if word in _ANYTHING else None
        joined.append(word if text is None else f"{_ANYTHING[word]}={text}")
    return joined


def add_text_options(parser: argparse.ArgumentParser) -> None:
    """-m, -f; without them the text is standard input."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-m", "--message", metavar="TEXT", help="the text (default: standard input)")
    source.add_argument("-f", "--file", metavar="FILE", help="a file with the text; - is standard input")
    source.add_argument("-b", "--base64", metavar="BASE64", help="the text in base64")


def _add_target(parser: argparse.ArgumentParser) -> None:
    """-t, the pane."""
    parser.add_argument(
        "-t",
        "--target",
        required=True,
        help="SESSION, SESSION:WINDOW, SESSION:WINDOW.PANE or %%ID; names are matched exactly, and SESSION: is a "
        "session even if it is called like an id",
    )


def add_pane_options(parser: argparse.ArgumentParser, via: str = TYPE) -> None:
    """Everything about how one text gets into a pane; `via` is the way unless somebody names another."""
    parser.add_argument(
        "--agent", default="", metavar="NAME", help="the profile to go by (default: found from the pane)"
    )
    parser.add_argument(
        "--via", choices=VIA, default=via, metavar="WAY",
        help="auto: the best channel that reaches the pane's session, else typing; native: no typing; type; or one "
        f"agent's: {', '.join(CHANNELS)} ({via})",
    )  # fmt: skip
    parser.add_argument(
        "--authority", choices=AUTHORITY, default="any",
        help="a channel whose message has not the user's authority (claude's inbox) is taken if nothing could be typed "
        "(any), never (user), or first (peer) (any)",
    )  # fmt: skip
    parser.add_argument("--allow-shell", action="store_true", help="type into a shell if that is what the pane runs")
    parser.add_argument("--when-idle", action="store_true", help="wait while the agent is busy; 75 if it stays so")
    parser.add_argument(
        "--certain", action="store_true", help="only agents whose profile proves that late dialogs are safe; else 75"
    )
    parser.add_argument("--accept", choices=["unproven"], help="exit 0 for this verdict too")
    parser.add_argument(
        "-r",
        "--retries",
        type=int,
        default=3,
        metavar="N",
        help="repeat a swallowed Enter at most N times (3)",
    )
    parser.add_argument("--timeout", type=float, default=15.0, metavar="SECONDS", help="for the whole call (15)")
    parser.add_argument(
        "-H",
        "--host",
        action="append",
        default=[],
        metavar="USER@HOST",
        help="the pane's host, over ssh; may be repeated",
    )
    parser.add_argument(
        "--ssh-config",
        default=os.environ.get("AGENT_SEND_SSH_CONFIG", ""),
        metavar="FILE",
        help="instead of ~/.ssh/config ($AGENT_SEND_SSH_CONFIG)",
    )
    parser.add_argument("--tmux", default="tmux", metavar="PATH", help="the tmux program on this host")
    parser.add_argument("--remote-tmux", default="tmux", metavar="PATH", help="the tmux program on -H hosts")
    server = parser.add_mutually_exclusive_group()
    server.add_argument("-L", "--socket-name", default="", metavar="NAME", help="the tmux server, as tmux -L")
    server.add_argument("--socket-path", default="", metavar="PATH", help="the tmux server, as tmux -S")
    parser.add_argument("--json", action="store_true", help="report as one JSON object a line")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each step on standard error")


def check_options(options: argparse.Namespace) -> None:
    """Raise UsageError for values that make no sense."""
    if not 1 <= options.timeout <= 3600:
        raise UsageError("--timeout must be between 1 and 3600 seconds")
    if not 0 <= options.retries <= 20:
        raise UsageError("-r must be between 0 and 20")
    if options.host:
        from worker.terminal.runner import check_destination

        for host in options.host:
            check_destination(host)
    for key in ("tmux", "remote_tmux", "socket_path", "socket_name", "ssh_config"):
        value: str = getattr(options, key)
        if value.startswith("-") or any(ord(one) < 0x20 for one in value):
            raise UsageError(f"--{key.replace('_', '-')} cannot be {value!r}")


def read_text(options: argparse.Namespace) -> str:
    """The text from wherever the options say.

    Raises:
        UsageError: there is no readable source.
    """
    from worker.terminal.text import MAX_BYTES, decode

    if options.message is not None:
        # Until 3.13 argparse takes a value that is `--` away, and leaves an empty list.
        return "--" if options.message == [] else str(options.message)
    if options.base64 is not None:
        import base64
        import binascii

        try:
            return decode(base64.b64decode(options.base64, validate=True))
        except (binascii.Error, ValueError):
            raise UsageError("-b: that is not base64") from None
    if options.file not in {None, "-"}:
        try:
            with open(options.file, "rb") as file:  # noqa: PTH123  pathlib would cost a start of these commands 5 ms
                return decode(file.read(MAX_BYTES + 1))
        except OSError as why:
            raise UsageError(f"-f {options.file}: {why.strerror}") from None
    if sys.stdin.isatty():
        raise UsageError("no text: give -m, -f or standard input")
    return decode(sys.stdin.buffer.read(MAX_BYTES + 1))


def connect(options: argparse.Namespace, host: str) -> "Server":
    """The tmux server that the options mean, here or on `host`.

    Raises:
        HostError: the host cannot be reached.
    """
    from worker.terminal.runner import LocalRunner, Runner, SshRunner
    from worker.terminal.tmux import Server

    runner: Runner = LocalRunner()
    if host:
        runner = SshRunner(host, config=options.ssh_config, timeout=min(10.0, options.timeout))
    return Server(
        runner,
        program=options.remote_tmux if host else options.tmux,
        socket_name=options.socket_name,
        socket_path=options.socket_path,
    )


def send(options: argparse.Namespace, target: str, compose: "Callable[[Server], str]") -> int:
    """Submit to `target` on each host, report each, and give the worst (highest) exit status.

    Args:
        options: as parsed.
        target: the pane, session or window.
        compose: makes the text; it may ask the server's host for its name.
    """
    loaded = load_profiles()
    check_agent(options.agent, loaded)
    worst = 0
    for host in options.host or [""]:
        outcome = _submit(options, host, target, compose, loaded)
        with contextlib.suppress(OSError):  # whoever reads the report, what was typed was typed
            report(outcome, as_json=options.json, look=look_command(options, host, outcome.pane or target))
        # Accepted is only what was entered: text left behind without an Enter is a failure to everybody.
        accepted = outcome.verdict == options.accept and "entered" in outcome.timings
        worst = max(worst, 0 if accepted else outcome.exit_status)
    return worst


def check_agent(name: str, loaded: "Catalogue") -> None:
    """Raise UsageError if `name` is that of no profile."""
    if name and name not in loaded:
        raise UsageError(f"--agent {name!r}: no such profile; there are: {', '.join(sorted(loaded))}")


def load_profiles() -> "Catalogue":
    """Every profile, the user's own instead of shipped ones of the same name; each is read when it is needed."""
    from worker.terminal.catalogue import Catalogue

    return Catalogue.of(os.environ)


def _submit(
    options: argparse.Namespace,
    host: str,
    target: str,
    compose: "Callable[[Server], str]",
    loaded: "Catalogue",
) -> "Outcome":
    from worker.terminal.runner import HostError
    from worker.terminal.submit import Options, Outcome, submit

    began = time.monotonic()
    try:
        server = connect(options, host)
    except HostError as why:
        return Outcome("gone", str(why), host=host)
    try:
        try:
            text = compose(server)
        except HostError as why:
            return Outcome("gone", str(why), host=host)
        wanted = Options(
            agent=options.agent,
            allow_shell=options.allow_shell,
            when_idle=options.when_idle,
            retries=options.retries,
            timeout=options.timeout - (time.monotonic() - began),
            certain=options.certain,
            key=os.environ.get("SOS_MESSAGE_KEY", ""),
            narrate=(lambda line: print(line, file=sys.stderr)) if options.verbose else lambda _: None,
        )
        if options.via == TYPE and not wanted.key:  # then no earlier attempt can have gone another way
            outcome = submit(server, target, text, wanted, loaded)
        else:
            from worker.terminal.channels.chain import deliver

            outcome = deliver(server, target, text, wanted, loaded, options.via, options.authority)
        if outcome.verdict == "gone":
            outcome.reason = "; ".join(filter(None, [outcome.reason, way_out(os.environ)]))
        if outcome.exit_status == 0:
            from worker.terminal import arrival

            arrival.note(server, outcome.pane, wanted.key, text)
        return outcome
    finally:
        server.runner.close()


def look_command(options: argparse.Namespace, host: str, place: str) -> str:
    """The command that looks at the same pane: what a person runs next, and sends with a bug report."""
    import shlex

    words = ["send-message", "--look", "-t", place]
    words += ["--agent", options.agent] if options.agent and options.agent != "generic" else []
    words += ["-H", host] if host else []
    words += ["-L", options.socket_name] if options.socket_name else []
    words += ["--socket-path", options.socket_path] if options.socket_path else []
    return shlex.join(words)


def report(outcome: "Outcome", *, as_json: bool, look: str) -> None:
    """Say what became of the message: success on standard output, failure on standard error; JSON there too.

    `look` is the command that tells more; what was not submitted points to it.
    """
    points = outcome.verdict in {"refused", "unproven", "deferred"}
    if as_json:
        import json

        keys = ("verdict", "reason", "agent", "version", "measured", "pane", "host", "proof", "timings", "leftover")
        said = {key: getattr(outcome, key) for key in (*keys, "channel", "passed")} | {"look": look if points else ""}
        print(json.dumps(said, ensure_ascii=False), flush=True)
        return
    place = " ".join(
        filter(
            None,
            [
                outcome.pane,
                f"on {outcome.host}" if outcome.host else "",
                f"({_whose(outcome)})" if outcome.agent else "",
                f"via {outcome.channel}" if outcome.channel != TYPE else "",
            ],
        )
    )
    proof = f" [{outcome.proof}]" if outcome.proof else ""
    passed = f" (not {'; not '.join(outcome.passed)})" if outcome.passed else ""
    more = f"; {look} says more" if points else ""
    line = f"{outcome.verdict}{' ' + place if place else ''}: {outcome.reason}{proof}{passed}{more}"
    print(line, file=sys.stdout if outcome.exit_status == 0 else sys.stderr, flush=True)


def _whose(outcome: "Outcome") -> str:
    """The agent, with its version where the profile was measured on another one."""
    if not outcome.version or outcome.version == outcome.measured:
        return " ".join(filter(None, [outcome.agent, outcome.version]))
    return f"{outcome.agent} {outcome.version}, measured on {outcome.measured or 'none'}"


def guarded(main: "Callable[[], int]", name: str) -> int:
    """Run a command; its failures become one sentence on standard error and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        # No locale may turn the report of something that was typed into a failure.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return main()
    except BusWatchError as why:
        print(f"{name}: {why}", file=sys.stderr)
        return why.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough; what is still to be flushed must not fail at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
