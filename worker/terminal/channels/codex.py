"""Codex's own queue of a thread, by the socket of its background server: the message becomes a turn of the user's own.

Facts are codex-cli 0.171.0's, found by running it. Every plain `codex` of one CODEX_HOME is served by one background
server (`codex app-server --managed-daemon`); `--remote unix://PATH` names another. `thread/queue/add` heeds no
id that it has seen already, so a message is looked up before it is added; its answer proves nothing, so the thread's
record (rollout) is read. An interrupted turn stops the queue, `thread/queue/start` starts it again. With `turn/start` a
message was lost when a person pressed Esc, so it brings none; without one it goes on with what the record ends with,
where the server was killed right behind a message.
"""

import glob
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from worker import process_table
from worker.fault_steps import step
from worker.terminal.channels import owned
from worker.terminal.channels.channel import AsideError, DriftError, Message, NotTakenError, Site
from worker.terminal.channels.codex_record import Record
from worker.terminal.channels.codex_threads import REMOTE, Thread, home_of, interfaces, loaded, loaded_ids, only, read
from worker.terminal.channels.jsonrpc import JsonRpc, RefusedCallError, UnknownCallError
from worker.terminal.channels.records import Records
from worker.terminal.channels.websocket import BrokenError, ShapeError, UnsentError, WebSocket
from worker.terminal.pace import pace
from worker.terminal.proof import Verdict

SOCKET = "app-server-control/app-server-control.sock"
PREFIX = "bus-watch:"
"""Of the ids that we give to turns."""
_UNTAKEN = 0.4  # seconds after which the queue of an idle thread has stopped: else a turn begins within 0.1
_SETTLED = 0.3  # seconds for which a message must wait in the queue of a busy thread


def find(site: Site, until: float, handed: str = "") -> "CodexSession | Records":
    """See `channel.Module.find`."""
    home = home_of(site.where.environment, site.where.home)
    try:
        return _shown(site, home, until, handed)
    except AsideError as why:
        if not handed:
            raise
        return _records(home, handed, why)


def _shown(site: Site, home: str, until: float, handed: str) -> "CodexSession":
    words = [" ".join(process_table.arguments(one.pid)) for one in site.group]
    remote = next((match[1] for match in map(REMOTE.search, words) if match), "")
    if not remote and any("--no-daemon" in one.split() for one in words):
        raise AsideError("this codex was started with --no-daemon")
    path = remote or os.path.join(home, SOCKET)  # noqa: PTH118 - these commands start without pathlib

    def chosen(rpc: JsonRpc) -> Thread:
        try:
            return only(loaded(rpc, until), site, interfaces(home, remote))
        except AsideError:
            if not handed:
                raise
            return _named(rpc, handed, until)

    return _opened(path, home, until, chosen)


def _records(home: str, session: str, why: AsideError) -> Records:
    """What stands for a thread that cannot be reached for that reason."""

    def took(path: str, message: Message) -> bool:
        record = Record(path)
        if not record.has_turn(PREFIX + message.id, message.text):
            return False
        if record.ends_with_it():
            raise AsideError("its turn was cut off before anything was answered")
        return True

    return Records(session, _paths(home, session), took, why)


def has_begun(site: Site, session: str, identity: str) -> bool:
    """Whether a record of that thread has the turn of the message of that id. AsideError: it cannot be read."""
    paths = _paths(home_of(site.where.environment, site.where.home), session)
    return any(Record(path).has_turn(PREFIX + identity, "") for path in paths)


def _paths(home: str, session: str) -> list[str]:
    return glob.glob(f"{glob.escape(home)}/sessions/*/*/*/rollout-*{glob.escape(session)}.jsonl")  # noqa: PTH207 - no pathlib here


def of_thread(home: str, identity: str, client_id: str, until: float) -> "CodexSession":
    """A thread that the background server of a CODEX_HOME has loaded, whatever UI shows it.

    Args:
        home: CODEX_HOME.
        identity: the thread's id.
        client_id: how the message is called in the thread.
        until: monotonic time.

    Raises:
        AsideError: as `find`.
    """
    session = _opened(os.path.join(home, SOCKET), home, until, lambda rpc: _named(rpc, identity, until))  # noqa: PTH118 - as above
    session.client_id = client_id
    return session


def _named(rpc: JsonRpc, identity: str, until: float) -> Thread:
    if identity not in loaded_ids(rpc, until):
        raise AsideError("its background server does not have that thread open")
    found = read(rpc.call("thread/read", until, threadId=identity).get("thread"), originators=())
    if found is None or found.id != identity or not found.rollout:
        raise AsideError("its background server does not show that thread")
    return found


def _opened(path: str, home: str, until: float, choose: "Callable[[JsonRpc], Thread]") -> "CodexSession":
    link = owned.connected(path, until)
    try:
        rpc = JsonRpc(WebSocket(link, until))
        greeting = rpc.call(
            "initialize",
            until,
            clientInfo={"name": "bus_watch", "title": "bus-watch", "version": "1"},
            capabilities={"experimentalApi": True},
        )
        rpc.notify("initialized", until)
        _check_home(greeting, home)
        session = CodexSession(rpc, choose(rpc), home)
        session.check(until)
    except (ShapeError, UnknownCallError) as why:
        link.close()
        raise DriftError(f"its server: {why}") from None
    except (RefusedCallError, BrokenError) as why:
        link.close()
        raise AsideError(f"its server: {why}") from None
    except BaseException:
        link.close()
        raise
    return session


def _check_home(greeting: Mapping[str, Any], home: str) -> None:
    if not isinstance(greeting.get("codexHome"), str):
        raise DriftError("the server at its socket does not say whose it is")
    if os.path.realpath(greeting["codexHome"]) != os.path.realpath(home):
        raise AsideError("the server at its socket is of another CODEX_HOME")


class CodexSession:
    """One thread; see `channel.Session`."""

    def __init__(self, rpc: JsonRpc, thread: Thread, home: str) -> None:
        self._rpc, self._thread, self._home = rpc, thread, home
        self.id = thread.id
        self._record = Record(thread.rollout)
        self.busy = thread.active
        self.client_id = ""
        """How messages are called in the thread; empty: by their own id."""

    def check(self, until: float) -> None:
        """Whether its queue and its record can prove a message.

        Raises:
            AsideError: the record cannot be read.
            DriftError: the record has turns, and none is written down in the way that was measured.
            BrokenError: see `JsonRpc.call`; RefusedCallError: the same.
        """
        self._queued(until)
        self._record.check()

    def lookup(self, message: Message) -> Verdict | None:
        """See `channel.Session.lookup`. A turn that was cut off before anything followed the message is begun again."""
        until = time.monotonic() + 5
        try:
            found = self._there(message, until)
            if self._is_cut_off(message, found, until):
                return self._begin(until)
        except (RefusedCallError, BrokenError) as why:
            raise AsideError(str(why)) from None
        if found is None and message.session not in {"", self.id}:
            other = AsideError("it was handed to another thread, whose record has it not")  # it may wait in its queue
            return _records(self._home, message.session, other).lookup(message)
        return found

    def _there(self, message: Message, until: float) -> Verdict | None:
        """What queue and record of this thread say of it; None: they have it not. Raises what `JsonRpc.call` does."""
        queued = self._queued(until)
        # Read after the queue: what leaves the queue in between is in the record.
        if (turn := self._begun(message, "its turn began earlier")) is not None:
            return turn
        mine = [one["id"] for one in queued if one.get("clientUserMessageId") == self._name(message)]
        return self._follow(message, str(mine[0]), time.monotonic() + 3) if mine else None

    def _is_cut_off(self, message: Message, found: Verdict | None, until: float) -> bool:
        """Whether no turn runs, and the record ends with the message: no model may have it.

        Raises:
            AsideError: it may be somebody else's of the same words.
        """
        nameless = found is None and self._record.is_nameless and message.session != ""
        if not nameless and (found is None or found.verdict != "submitted"):
            return False
        if not self._is_active(until) and self._record.ends_with_it():
            return True
        if nameless:
            raise AsideError("its record has the text, and does not say whose it is")
        return False

    def _begin(self, until: float) -> Verdict:
        """Have the thread go on with what its record ends with."""
        self._rpc.call("turn/start", until, threadId=self._thread.id, input=[])
        while not self._record.has_more():
            if time.monotonic() > until:
                raise AsideError("its turn was cut off before anything was answered, and does not begin again")
            time.sleep(0.05)
        return Verdict("submitted", "its turn was cut off, and has begun again", f"record {self._record.path}")

    def send(self, message: Message, until: float) -> Verdict:
        """See `channel.Session.send`."""
        try:
            added = self._rpc.call(
                "thread/queue/add",
                until,
                threadId=self._thread.id,
                input=[{"type": "text", "text": message.text, "text_elements": []}],
                clientUserMessageId=self._name(message),
            )
            submission = added.get("queuedSubmission")
        except RefusedCallError as why:
            return self._despite(str(why), message, until)
        except UnsentError as why:
            raise NotTakenError(f"the server did not take it whole: {why}") from None
        except BrokenError as why:
            return self._begun(message) or Verdict("unproven", f"it was handed to codex, then: {why}")
        step("channel.sent")
        return self._follow(message, str(submission.get("id")) if isinstance(submission, dict) else "", until)

    def _despite(self, refusal: str, message: Message, until: float) -> Verdict:
        """What became of a message that was refused: an error may come behind what was done."""
        try:
            found = self._there(message, until)
        except (RefusedCallError, BrokenError) as why:
            # The thread is closed, or the server gone: its queue is not known.
            return self._begun(message) or Verdict("unproven", f"it was handed to codex: {refusal}; then: {why}")
        if found is None:
            raise NotTakenError(refusal)
        return found

    def close(self) -> None:
        """See `channel.Session.close`."""
        self._rpc.close()

    def _follow(self, message: Message, submission: str, until: float) -> Verdict:
        """What becomes of a message that was added."""
        began = time.monotonic()
        started = False
        why = "no turn shows it"
        while time.monotonic() < until:
            if (turn := self._begun(message)) is not None:
                return turn
            waited = time.monotonic() - began
            try:
                if waited > (_SETTLED if self.busy else _UNTAKEN):
                    if (verdict := self._waits(message, until)) is not None:
                        return verdict
                    if not started:
                        started = True
                        self._start(submission, until)
            except (RefusedCallError, DriftError):
                pass  # what was to be started runs by now, or what was said is not known: the record tells
            except BrokenError as broken:
                why = str(broken)
                break
            time.sleep(pace(waited))
        return self._begun(message) or Verdict("unproven", f"it was handed to codex, but {why}")

    def _waits(self, message: Message, until: float) -> Verdict | None:
        """`queued`, if a turn runs and the message waits behind it."""
        self.busy = self._is_active(until)
        mine = any(one.get("clientUserMessageId") == self._name(message) for one in self._queued(until))
        if self.busy and mine:
            return Verdict("queued", "it waits behind the turn that runs", "codex's queue has it")
        return None

    def _is_active(self, until: float) -> bool:
        """Whether a turn runs."""
        thread = read(self._rpc.call("thread/read", until, threadId=self._thread.id).get("thread"), originators=())
        return thread is not None and thread.active

    def _start(self, submission: str, until: float) -> None:
        """Start a queue that an interrupted turn has stopped, at the oldest message of ours; a person's stay theirs."""
        named = [(one["id"], str(one.get("clientUserMessageId"))) for one in self._queued(until)]
        ours = [one for one, name in named if name.startswith(PREFIX) or name == self.client_id]
        if submission in ours:
            self._rpc.call("thread/queue/start", until, threadId=self._thread.id, queuedSubmissionId=ours[0])

    def _queued(self, until: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: object = None
        while True:
            page = self._rpc.call("thread/queue/list", until, threadId=self._thread.id, cursor=cursor)
            data = page.get("data")
            if not isinstance(data, list) or any(not isinstance(one, dict) or "id" not in one for one in data):
                raise ShapeError("codex lists its queue in a way that is not known")
            found += data
            cursor = page.get("nextCursor")
            if not cursor:
                return found

    def _name(self, message: Message) -> str:
        return self.client_id or PREFIX + message.id

    def _begun(self, message: Message, why: str = "its turn began") -> Verdict | None:
        """`submitted`, if the record has its turn."""
        if not self._record.has_turn(self._name(message), message.text):
            return None
        return Verdict("submitted", why, f"record {self._record.path}")
