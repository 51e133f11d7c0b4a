"""What `send`, `reply` and `test-send` share: who sends, from which ledger, and what became of it.

Agents call these often, so where a worker runs they read no more of the configuration than where its ledger lies: the
worker has checked the rest, and does the sending.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import state_files
from worker.classes import CLASSES, LOGGED_CLASS
from worker.cli import output
from worker.cli.guess import did_you_mean
from worker.errors import UsageError
from worker.fault_steps import step
from worker.file_modes import exposed
from worker.ledger import outbox, outbox_bell
from worker.ledger.port import Ledger, Row
from worker.ledger.sqlite import SqliteLedger
from worker.outgoing import Kind, Sending, key_of
from worker.plain_files import read_plain
from worker.sandbox import way_out
from worker.transports.locks import any_worker_lives

if TYPE_CHECKING:
    from worker.settings import Settings

ANSWER_SECONDS = 3.0  # how long a command waits to say whether the bus has it; the worker goes on trying
LOOK_SECONDS = 0.02
LONGEST_TEXT = 16_384  # characters; worker.bus.wire has it from the bridges
LONGEST_CONFIG = 16 * 1024 * 1024
NEVER_SENT = 65
KEPT = 75
UNKNOWN = 76
FULL_READING = frozenset({"BUS_WATCH_CONFIG", "BUS_WATCH_FAULT_STEP"})


@dataclass(frozen=True, slots=True)
class Desk:
    """The ledger that a command writes into, and the agents whose it may be."""

    ledger_file: Path
    files_dir: Path
    agents: tuple[str, ...]
    config: str | None
    settings: "Settings | None" = None  # where all of the configuration was read

    @contextmanager
    def opened(self) -> Iterator[Ledger]:
        """The ledger, for writing. LedgerError."""
        database = self._open()
        try:
            yield database
        finally:
            database.close()

    def _open(self) -> Ledger:
        if self.settings is None:
            return SqliteLedger(self.ledger_file)
        from worker.ledger.configured import open_ledger  # it loads what reads the configuration

        return open_ledger(self.settings)


def desk_of(config: str | None) -> Desk:
    """The desk of a configuration. ConfigError."""
    found = _glance(config)
    if found is not None and any_worker_lives(found.files_dir):
        return found
    settings = read_settings(config)
    names = tuple(one.agent for one in settings.agents)
    return Desk(settings.ledger_file, settings.files_dir, names, config, settings)


def read_settings(config: str | None) -> "Settings":
    """The whole configuration; takes a second on a busy machine. ConfigError."""
    from worker.cli import options

    return options.settings(argparse.Namespace(config=config))


def _glance(config: str | None) -> Desk | None:
    """What can be told without checking all of it; None where that is for who reads all of it."""
    prefix = state_files.ENV_PREFIX
    if any(name.startswith(prefix) and name not in FULL_READING for name in os.environ):
        return None
    given = config or os.environ.get(state_files.CONFIG_VARIABLE) or state_files.DEFAULT_CONFIG
    try:
        where = Path(given).expanduser()
        data = json.loads(read_plain(where, LONGEST_CONFIG))
        state = data.get("state_path", state_files.DEFAULT_STATE)
        entries = data.get("agents", [{}])
        agents = tuple(entry.get("agent", data.get("agent")) for entry in entries)
        if any(key.startswith("ledger_url") for key in data) or exposed(where) is not None:
            return None
        if not all(isinstance(one, str) for one in (*agents, state)):
            return None
        return Desk(state_files.ledger_file(state), state_files.files_dir(state), agents, config)
    except (OSError, ValueError, RuntimeError, AttributeError, TypeError, RecursionError):
        return None


def sender(desk: Desk, given: str | None) -> str:
    """The agent that sends: the one named, the one whose transport or pane this is, or the only one. UsageError."""
    if given is not None:
        if given not in desk.agents:
            near = did_you_mean(given, desk.agents)
            raise UsageError(f"--as: the configuration has no agent {given!r}{near}")
        return given
    if len(desk.agents) == 1:
        return desk.agents[0]
    around = os.environ.get("SOS_AGENT", "")
    if around in desk.agents:
        return around
    if (found := _by_its_last_message(desk)) is not None:
        return found
    raise UsageError(f"say whose message it is, --as one of: {', '.join(desk.agents)}")


def _by_its_last_message(desk: Desk) -> str | None:
    """Who I am, by whom the last message in my pane or session was for."""
    from worker.terminal import arrival, preamble

    came = arrival.last(os.environ)
    if came is None:
        return None
    addressed = preamble.parse(came.line)
    name = came.key.partition("/")[0] or (addressed.destination if addressed else "")
    return name if name in desk.agents else None


def class_of(args: argparse.Namespace) -> str | None:
    """The class that was asked for. UsageError."""
    given: str | None = args.message_class
    if given is not None and given not in CLASSES:
        raise UsageError(f"-C {given}: the class must be one of {', '.join(CLASSES)}{did_you_mean(given, CLASSES)}")
    if args.fyi and given not in {None, LOGGED_CLASS}:
        raise UsageError(f"--fyi is -C {LOGGED_CLASS}: leave one of them out")
    return LOGGED_CLASS if args.fyi else given


def allow_intermixed(parser: argparse.ArgumentParser) -> None:
    """Let the text stand behind options."""
    parser.intermixed = True  # type: ignore[attr-defined] # of our CommandParser, which imports this module's commands


def add_class(parser: argparse.ArgumentParser) -> None:
    """-C and --fyi."""
    parser.add_argument(
        "-C", "--class", dest="message_class", metavar="CLASS", help=f"what it is for: {', '.join(CLASSES)}"
    )
    parser.add_argument("--fyi", action="store_true", help="for the record: class terminal-log, wakes nobody")


def add_text(parser: argparse.ArgumentParser) -> None:
    """-f and -, beside the text itself."""
    parser.add_argument("-f", "--file", metavar="FILE", help="a file with the text; - is standard input")


def read_text(args: argparse.Namespace) -> str:
    """The text from wherever the command line says. UsageError."""
    if args.text is not None and args.file is not None:
        raise UsageError("give the text or -f FILE, not both")
    try:
        if args.file not in {None, "-"}:
            return Path(args.file).read_bytes().decode("utf-8", "replace")
        if args.text not in {None, "-"}:
            return str(args.text)
        if args.text is None and args.file is None and sys.stdin.isatty():
            raise UsageError("no text: give it, -f FILE, or - for standard input")
        return sys.stdin.buffer.read(4 * LONGEST_TEXT + 1).decode("utf-8", "replace").removesuffix("\n")
    except OSError as error:
        raise UsageError(f"-f {args.file}: {error.strerror}") from None


def recipient(given: str) -> str:
    """Who is meant: an agent's name, which may stand as in a preamble (`agent:alice`). UsageError."""
    name = given.removeprefix("agent:")
    if not re.fullmatch(r"[^\s/]{1,128}", name) or not name.isprintable():
        shown = given if len(given) <= 60 else f"{given[:60]}..."
        raise UsageError(f"{shown!r} is no agent's name: say whose inbox it is for, for example alice")
    return name


def composed(agent: str, to: str, message_class: str | None, text: str) -> str:
    """The text as the bus gets it: a class rides in the preamble, for the bus has no field for it. UsageError."""
    from worker.terminal import preamble

    if not text.strip():
        raise UsageError("the text is empty: there is nothing to send")
    whole = preamble.compose(agent, to, message_class, text) if message_class else text
    if len(whole) > LONGEST_TEXT:
        raise UsageError(
            f"the text has {len(whole):,} characters, and the bus takes {LONGEST_TEXT:,}: send a file's path"
        )
    return whole


def post(
    desk: Desk,
    agent: str,
    to: str,
    text: str,
    *,
    message_class: str | None,
    answers: str | None = None,
    seconds: float = ANSWER_SECONDS,
) -> Row:
    """Write a message down, and have it sent. Its row, once something is known or so many seconds have passed."""
    with desk.opened() as database:
        return hand_over(
            desk, database, agent, to, text,
            kind=Kind.MESSAGE, message_class=message_class, answers=answers, seconds=seconds,
        )  # fmt: skip


def hand_over(
    desk: Desk,
    database: Ledger,
    agent: str,
    to: str,
    text: str,
    *,
    kind: Kind,
    message_class: str | None,
    answers: str | None,
    seconds: float,
) -> Row:
    """The same, into a ledger that is open: by a worker that listens, or here and now."""
    number = database.write(
        lambda tx: outbox.put(
            tx, agent, to, text, kind=kind, now=tx.now(), message_class=message_class, answers=answers
        )
    )
    step("outbox_written")
    if outbox_bell.ring(desk.files_dir):
        return _await(database, number, seconds)
    from worker.cli import sending_here

    return sending_here.send(desk.settings or read_settings(desk.config), database, number)


def _await(database: Ledger, number: int, seconds: float) -> Row:
    """The row once it has been tried, or when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        row = database.read(lambda db: outbox.find(db, number))
        if row["state"] not in {Sending.WAITING, Sending.SENDING} or time.monotonic() > deadline:
            return row
        time.sleep(LOOK_SECONDS)


def as_json(row: Row) -> dict[str, Any]:
    """A message of the outbox as JSON has it."""
    from worker import times

    message = f"{row['recipient']}/{row['message_id']}" if row["message_id"] else None
    return {
        "key": key_of(row["id"]),
        "from": row["agent"],
        "to": row["recipient"],
        "kind": row["kind"],
        "class": row["class"],
        "answers": row["answers"],
        "state": row["state"],
        "message": message,
        "stream": row["stream"],
        "id": row["message_id"],
        "attempts": row["attempts"],
        "reason": row["reason"] or None,
        "remark": row["remark"],
        "outcome": row["outcome"],
        "created_at": times.stamp(row["created_at"]),
        "next_at": times.stamp(row["next_at"]),
        "ended_at": times.stamp(row["ended_at"]),
        "outcome_at": times.stamp(row["outcome_at"]),
    }


def said(row: Row, *, listening: bool) -> tuple[int, str]:
    """The exit status for a message, and the sentence."""
    key, to, why = key_of(row["id"]), row["recipient"], row["reason"]
    match row["state"]:
        case Sending.SENT:
            return 0, f"sent {key} to {to}: {to}/{row['message_id']}"
        case Sending.DEAD | Sending.CANCELLED:
            return NEVER_SENT, f"{key} to {to} was not sent: {why}"
        case Sending.HELD:
            return UNKNOWN, f"{key} to {to} is held: {why}"
    tried = f" ({why})" if why else ""
    if listening:
        return 0, f"queued {key} to {to}{tried}; the worker sends it as soon as it can: bus-watch show {key}"
    return KEPT, f"kept {key} to {to}{tried}; no worker is running, and one that starts sends it: bus-watch run"


def tell(row: Row, desk: Desk, *, json_wanted: bool) -> int:
    """Print what became of a message, and give the exit status."""
    status, words = said(row, listening=any_worker_lives(desk.files_dir))
    if json_wanted:
        output.print_json(as_json(row))
    else:
        print(words, file=sys.stdout if status == 0 else sys.stderr)
        if status == KEPT and (sandboxed := way_out(os.environ)):
            print(sandboxed, file=sys.stderr)
        if row["state"] == Sending.SENT and row["remark"]:
            print(row["remark"], file=sys.stderr)
    return status
