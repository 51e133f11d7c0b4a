"""One tmux server: exact panes, what they show, the pane's lock, keys that arrive only if nothing changed.

Facts, from tmux 3.3a: a server runs one command list at a time, so a condition and the paste behind it in one
`if-shell -F` are one step to everybody else. `paste-buffer` into a dead pane crashes the server; in copy-mode
it sends no brackets and `send-keys Enter` is swallowed with status 0; `synchronize-panes` copies keys, not
pastes, to the window's other panes. `-u` keeps output UTF-8 whatever the locale. Target names match prefixes
and patterns, so targets are compared here and tmux sees pane ids only.
"""

import contextlib
import os
import re
import time
from collections.abc import Sequence

from msgspec import Struct

from worker import process_table
from worker.errors import BusWatchError
from worker.terminal import places
from worker.terminal.far_processes import LIFE
from worker.terminal.places import Pane
from worker.terminal.runner import LocalRunner, Result, Runner

_PANES = ":".join(
    f"#{{{name}}}"
    for name in (
        *("pane_id", "pane_dead", "pane_pid", "pane_tty", "window_index", "pane_index"),
        *("session_name", "window_name"),
    )
)
_LOOK = "|".join(
    f"#{{{name}}}"
    for name in (
        *("pane_dead", "pane_in_mode", "pane_input_off", "pane_synchronized", "pane_pid", "pane_tty"),
        *("cursor_x", "cursor_y", "cursor_flag", "pane_width", "pane_height"),
        *("@bus_watch_pasted", "@bus_watch_fates", "pane_title"),
    )
)
_LOCK = "@bus_watch_lock"
_HOLDER = "^[0-9a-f]+[.][0-9]+[.][0-9A-Za-z]+[.][0-9]+$"
"""What a lock's value looks like, as tmux matches it; anything else is nobody's."""
_NOTE = "@bus_watch_pasted"
_FATES = "@bus_watch_fates"


class GoneError(BusWatchError):
    """The pane, its session or its tmux server is not there."""

    code = "gone"
    exit_status = 69


class RefusedError(BusWatchError):
    """The target is not one pane that a message belongs into."""

    code = "refused"
    exit_status = 69


class TmuxError(BusWatchError):
    """tmux did something that we do not understand; its own words are in the message."""

    code = "tmux"
    exit_status = 69


class UnsentError(TmuxError):
    """tmux failed before anything reached the pane."""


class Look(Struct, frozen=True):
    """What a pane showed at one moment; columns and rows count from 0."""

    dead: bool
    in_mode: bool
    input_off: bool
    synchronized: bool
    pid: int
    tty: str
    cursor_x: int
    cursor_y: int
    cursor_on: bool
    width: int
    height: int
    title: str
    screen: str
    """The visible lines with their SGR sequences (`capture-pane -e`)."""
    note: str = ""
    """What was pasted there and may still stand there; see `worker.terminal.leftover`."""
    fates: str = ""
    """What became of texts that were left over."""


class Server:
    """The tmux server that a runner's host and the given socket name or path mean."""

    def __init__(self, runner: Runner, *, program: str = "tmux", socket_name: str = "", socket_path: str = "") -> None:
        self.runner = runner
        self.socket = socket_path or socket_name
        """Which server; empty: the user's usual one."""
        self._base = [program, "-u"]
        if socket_path:
            self._base += ["-S", socket_path]
        elif socket_name:
            self._base += ["-L", socket_name]

    def call(self, *words: str, stdin: bytes = b"", timeout: float = 5.0) -> str:
        """Run tmux commands (`;` as a word of its own between them) and give their output.

        Raises:
            GoneError: the server, session or pane does not exist.
            TmuxError: any other failure.
            HostError: the host is out of reach.
        """
        result = self.run(*words, stdin=stdin, timeout=timeout)
        if result.status == 0:
            return result.text
        raise self.failure(result)

    def run(self, *words: str, stdin: bytes = b"", timeout: float = 5.0) -> Result:
        """The same, and how it ended."""
        return self.runner.run([*self._base, *words], stdin, timeout=timeout)

    def failure(self, result: Result) -> GoneError | TmuxError:
        """What a status that is not 0 means."""
        said = " ".join(re.sub(r"\|{5,}", "", result.text).split())[-200:]  # without what a look at no pane prints
        missing = ("no server running", "error connecting", "can't find", "server exited", "lost server")
        if any(one in said for one in missing):
            return GoneError(f"tmux{self._on()} says: {said}")
        if result.status == 127:
            return TmuxError(f"there is no tmux{self._on()}: {said} (--tmux or --remote-tmux names its path)")
        return TmuxError(f"tmux{self._on()} failed with status {result.status}: {said}")

    def panes(self) -> list[Pane]:
        """Every pane of every session; one that several sessions show once for each."""
        rows = (line.split(":", 7) for line in self.call("list-panes", "-a", "-F", _PANES).splitlines())
        return [Pane(words[0], words[1] != "0", int(words[2] or 0), *words[3:]) for words in rows if len(words) == 8]

    def panes_if_any(self) -> list[Pane]:
        """The same; none where there is no tmux or no server."""
        try:
            return self.panes()
        except BusWatchError:
            return []

    def candidates(self, target: str) -> list[Pane]:
        """The panes that `target` means exactly, each once; see `worker.terminal.places`.

        Raises:
            GoneError: there are none.
            RefusedError: it may mean one as well as another.
        """
        panes = self.panes()
        if why := places.ambiguous(panes, target):
            raise RefusedError(why)
        found = places.matching(panes, target)
        if not found:
            hint = places.hint(panes, target)
            sessions = ", ".join(sorted({one.session for one in panes})) or "none"
            raise GoneError(
                f"no pane is called {target!r} (names are matched exactly); {hint}sessions{self._on()}: {sessions}"
            )
        return found

    def look(self, pane: str, timeout: float = 5.0) -> Look:
        """What `pane` shows now: its state and its screen in one step."""
        return self.shown(pane, self.call(*_looking(pane), timeout=timeout))

    def shown(self, pane: str, said: str) -> Look:
        """What tmux's answer to `_looking` says.

        Raises:
            GoneError: there is no such pane any more.
        """
        head, _, screen = said.partition("\n")
        words = head.split("|", 13)
        if len(words) != 14 or not words[4].isdigit():
            raise GoneError(f"pane {pane} has vanished{self._on()}")
        return Look(
            dead=words[0] == "1",
            in_mode=words[1] not in {"", "0"},
            input_off=words[2] == "1",
            synchronized=words[3] == "1",
            pid=int(words[4]),
            tty=words[5],
            cursor_x=int(words[6] or 0),
            cursor_y=int(words[7] or 0),
            cursor_on=words[8] != "0",
            width=int(words[9] or 0),
            height=int(words[10] or 0),
            title=words[13],
            screen=screen,
            note=words[11],
            fates=words[12],
        )

    def buffer(self, name: str) -> str:
        """The text in one of our buffers; empty if there is no such buffer."""
        try:
            return self.call("show-buffer", "-b", name)
        except TmuxError:
            return ""

    def last_activity(self) -> int:
        """When a key was last pressed in any client, in seconds since 1970 by the host's clock; 0: there is none.

        A client that has gone meanwhile has left it in its session.
        """
        clients = ("list-clients", "-F", "#{client_activity}")
        said = self.call(*clients, ";", "list-sessions", "-F", "#{session_activity}").split()
        return max((int(one) for one in said if one.isdigit()), default=0)

    def leave_mode(self, pane: str) -> None:
        """End every mode that the pane is in, also one in another: copy-mode, clock-mode, choose-tree...

        `send-keys -X cancel` knows copy-mode alone (3.3a: `not in a mode` in the others); a tmux that does not know
        `copy-mode -q` has nothing better.
        """
        try:
            self.call("copy-mode", "-q", "-t", pane)
        except TmuxError:
            self.call("if-shell", "-F", "-t", pane, "#{pane_in_mode}", f"send-keys -t {pane} -X cancel")

    def _on(self) -> str:
        return f" on {self.runner.host}" if self.runner.host else ""


def _looking(pane: str) -> list[str]:
    """The commands of one look."""
    return ["display-message", "-p", "-t", pane, _LOOK, ";", "capture-pane", "-p", "-e", "-t", pane]


def cursor_at(look: Look, *, row: bool) -> str:
    """The condition that the cursor is in the column where `look` saw it, and with `row` in the same row, too.

    It is as visible as it was, too: dialogs of several UIs hide it (codex 0.171, opencode 1.18).
    """
    wanted = {"cursor_x": look.cursor_x, "cursor_flag": int(look.cursor_on)}
    if row:
        wanted |= {"cursor_y": look.cursor_y}
    return _all_of([f"#{{==:#{{{name}}},{value}}}" for name, value in wanted.items()])


def _holds(holder: str) -> str:
    """The condition that the lock is `holder`'s."""
    return f"#{{==:#{{{_LOCK}}},{holder}}}"


def _all_of(conditions: Sequence[str]) -> str:
    test = conditions[0]
    for one in conditions[1:]:
        test = f"#{{&&:{test},{one}}}"
    return test


class PaneLock:
    """The right to type into one pane, kept in the pane itself, as the pane option `@bus_watch_lock`.

    tmux sets and compares it in one step, so local and remote senders exclude each other with tmux alone (and `sh`
    on another host). Its value names the process on the pane's host whose life it depends on (this one, or the far
    `sh` that dies with the connection) and a time after which it counts for nothing: it can neither be left behind
    nor live for ever. Each paste and each key is sent under the condition that the lock is still ours.
    """

    def __init__(self, server: Server, pane: Pane) -> None:
        self._server = server
        self.pane = pane.id
        self._pid = pane.pid
        self._token = ""
        self._me: tuple[str, str, float] | None = None
        self._judged = ("", 0.0)
        self._texts: dict[str, tuple[bytes, str]] = {}

    def acquire(self, lease: float) -> Look | None:
        """Try once to take the lock for at most `lease` seconds; the pane as it was then.

        Returns:
            None: a living sender has it.

        Raises:
            GoneError: there is no such pane.
        """
        if self._me is None:
            pid, started, now = self._own_life()
            self._me = (pid, started, now - time.monotonic())
        pid, started, offset = self._me
        token = f"{os.urandom(8).hex()}.{pid}.{started}.{int(time.monotonic() + offset + lease) + 1}"
        holder, look = self._swap(_holds(""), token)
        if holder != token and not re.match(_HOLDER, holder):  # somebody else's words: no part of a tmux condition
            holder, look = self._swap(f"#{{?#{{m/r:{_HOLDER},#{{{_LOCK}}}}},0,1}}", token)
        elif holder != token and not self._alive(holder):
            holder, look = self._swap(_holds(holder), token)
        self._token = token if holder == token else ""
        return self._server.shown(self.pane, look) if self._token else None

    def release(self, forget: str = "") -> None:
        """Give the lock back, if it is still ours.

        Args:
            forget: the name of a buffer whose text has met its fate: it goes, and its note with it.
        """
        if self._token:
            token, self._token = self._token, ""
            freeing = f"set-option -p -u -t {self.pane} {_LOCK}"
            if not forget:
                self._server.call(*self._if_ours(freeing, token))
                return
            freeing = f"set-option -p -u -t {self.pane} {_NOTE} ; {freeing}"
            # The buffer may be gone already. It comes last: what fails ends the list.
            self._server.run(*self._if_ours(freeing, token), ";", "delete-buffer", "-b", forget)

    @property
    def now(self) -> float:
        """The time by the clock of the pane's host, in seconds since 1970; only while the lock is ours."""
        return time.monotonic() + self._me[2] if self._me is not None else 0.0

    def paste(self, text: bytes, note: str, cursor: str) -> bool:
        """Note what is pasted, and paste it in brackets. False: something changed, and nothing was sent.

        Args:
            text: what to paste; it travels by standard input, through a tmux buffer of our own.
            note: `leftover.Note.value`; it goes into the pane right before the paste, and the buffer then stays until
                `forget`: the text is known for as long as its fate is not. Empty: neither.
            cursor: a tmux condition on where the cursor must still be (see `cursor_at`), or empty.
        """
        name = f"bus-watch-{note.partition('.')[0] or os.urandom(8).hex()}"
        noting, drop = (f"set-option -p -t {self.pane} {_NOTE} {note} ; ", "") if note else ("", "-d ")
        load = ("load-buffer", "-b", name, "-", ";")
        sent = self._guarded(f"{noting}paste-buffer -p {drop}-b {name} -t {self.pane}", cursor, load, text)
        if not sent:
            self.unload(name)
        return sent

    def unload(self, name: str) -> None:
        """Forget a buffer; it may be gone already."""
        with contextlib.suppress(TmuxError):
            self._server.call("delete-buffer", "-b", name)

    def forget(self, name: str, fates: str = "") -> None:
        """The fate of what was pasted is known: remove its note and its buffer, and keep `fates` if there are any."""
        keep = f"set-option -p -t {self.pane} {_FATES} {fates} ; " if fates else ""
        forgetting = self._if_ours(f"{keep}set-option -p -u -t {self.pane} {_NOTE}", self._token)
        with contextlib.suppress(TmuxError):  # the buffer may be gone already, and what fails ends the list
            self._server.call(*forgetting, ";", "delete-buffer", "-b", name)

    def press(self, keys: str, cursor: str) -> bool:
        """Press `keys` (tmux's names), `cursor` as in `paste`. False: something changed, nothing was sent."""
        return self._guarded(f"send-keys -t {self.pane} {keys}", cursor)

    def is_ours(self) -> bool:
        """Whether the lock is still ours, and the pane has the program that it had."""
        ours = _all_of([_holds(self._token), f"#{{==:#{{pane_pid}},{self._pid}}}"])
        said = self._server.call(
            "if-shell", "-F", "-t", self.pane, ours, "display-message -p ours", "display-message -p no"
        )
        return said.strip() == "ours"

    def _if_ours(self, command: str, token: str) -> tuple[str, ...]:
        return ("if-shell", "-F", "-t", self.pane, _holds(token), command)

    def _guarded(self, command: str, cursor: str, before: tuple[str, ...] = (), stdin: bytes = b"") -> bool:
        conditions = [
            _holds(self._token),
            f"#{{==:#{{pane_pid}},{self._pid}}}",
            *(
                f"#{{?#{{{flag}}},0,1}}"
                for flag in ("pane_dead", "pane_in_mode", "pane_input_off", "pane_synchronized")
            ),
        ]
        if cursor:
            conditions.append(cursor)
        # The answer comes first: a command that crashed the server must not look unsent.
        result = self._server.run(
            *before,
            *("if-shell", "-F", "-t", self.pane, _all_of(conditions)),
            f"display-message -p sent ; {command}",
            "display-message -p unsent",
            stdin=stdin,
            timeout=10.0 if stdin else 5.0,
        )
        if result.status == 0:
            return result.text.strip() == "sent"
        why = self._server.failure(result)
        # After a `load-buffer` that failed tmux goes on with the list; then there is nothing to paste.
        sent = "sent" in result.text.split() and "no buffer bus-watch-" not in result.text
        raise why if sent else UnsentError(str(why))

    def _swap(self, test: str, new: str) -> tuple[str, str]:
        """Set the lock to `new` under a condition; who has it now, and what a look shows in the same step."""
        taking = ("if-shell", "-F", "-t", self.pane, test, f"set-option -p -t {self.pane} {_LOCK} {new}")
        asking = ("display-message", "-p", "-t", self.pane, f"#{{{_LOCK}}}")
        holder, _, look = self._server.call(*taking, ";", *asking, ";", *_looking(self.pane)).partition("\n")
        return holder.strip(), look

    def _alive(self, holder: str) -> bool:
        """Whether the process that a lock names lives and its time is not up; asked at most once a second."""
        words = holder.split(".")
        if len(words) != 4 or not (words[1].isdigit() and words[3].isdigit()):
            return False
        known, asked = self._judged
        if known == holder and time.monotonic() - asked < 1:
            return True
        _, started, now = self._life(words[1])
        self._judged = (holder, time.monotonic())
        return started == words[2] and now <= int(words[3])

    def _own_life(self) -> tuple[str, str, float]:
        """`_life` of the process on the pane's host whose end gives the lock back."""
        if isinstance(self._server.runner, LocalRunner):
            return self._life(str(os.getpid()))
        return self._life("")

    def _life(self, pid: str) -> tuple[str, str, float]:
        """The process, when it started, in the form that `LIFE` has, and the time, both on the pane's host.

        No pid: the far shell's, which ends with the connection.
        """
        if isinstance(self._server.runner, LocalRunner):
            return pid, process_table.born(int(pid)) or "none", time.time()
        words = self._server.runner.run(["sh", "-c", LIFE, "sh", pid]).text.split()
        if len(words) != 3 or not words[2].isdigit():
            raise TmuxError("the pane's host has no working sh")
        return words[0], words[1], float(words[2])


def describe(panes: Sequence[Pane]) -> str:
    """The panes' ids with where they are, for a message."""
    return ", ".join(f"{one.id} ({one.session}:{one.window}.{one.index})" for one in panes)
