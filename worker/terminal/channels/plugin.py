"""The socket of a plugin of ours in an agent's UI: one JSON line asked, one answered, a connection each.

The plugins lie in `plugins/`; `bus-watch agent setup` puts them where their UI looks for them. An answer names the
protocol's version, the agent and its process.
"""

import json
import socket
import time
from typing import Any

from worker.errors import BusWatchError
from worker.fault_steps import step
from worker.terminal.channels import handed, owned
from worker.terminal.channels.answers import parsed
from worker.terminal.channels.channel import AsideError, DriftError, Message, NotTakenError, Site
from worker.terminal.pace import pace
from worker.terminal.proof import Verdict

VERSION = 1
_MAX_ANSWER = 1024 * 1024


class LostError(BusWatchError):
    """What was asked may have been done or not."""

    code = "lost"
    exit_status = 76


class PluginRefusedError(LostError):
    """The agent has answered that it will not."""

    def __init__(self, words: str, *, untouched: bool) -> None:
        """`untouched`: the plugin has handed it nothing."""
        super().__init__(words)
        self.untouched = untouched


class Plugin:
    """The plugin in one process."""

    def __init__(self, agent: str, pid: int, path: str) -> None:
        self._agent, self._pid, self._path = agent, pid, path

    @classmethod
    def of(cls, agent: str, site: Site) -> "Plugin":
        """The plugin in the pane's agent. AsideError: it has none."""
        for one in site.group:
            path = f"{site.where.home}/{handed.BELOW_HOME}/{agent}-{one.pid}.sock"
            if owned.there(path):
                return cls(agent, one.pid, path)
        raise AsideError(f"it runs without our plugin: bus-watch agent setup {agent} --write, then start it again")

    def ask(self, until: float, **question: object) -> dict[str, Any]:
        """The answer to one question.

        Raises:
            NotTakenError: nobody listens, or it is another's, or has ended before it had read it.
            AsideError: what answered is another process's.
            DriftError: it is of another version, or what came is no answer of a plugin.
            PluginRefusedError: it was answered with an error.
            LostError: the question was sent, and no answer came.
        """
        try:
            link = owned.connected(self._path, until)
        except AsideError as why:
            raise NotTakenError(str(why)) from None
        with link:
            try:
                link.sendall(json.dumps(question).encode() + b"\n")
            except OSError as why:  # half a line is none
                raise NotTakenError(f"the plugin did not take it: {why.strerror or why}") from None
            if question["op"] == "send":
                step("channel.sent")
            try:
                line = _line(link, until)
            except OSError as why:
                if owned.unread(why):
                    raise NotTakenError("the agent ended, and had not read it") from None
                raise LostError(f"the plugin did not answer: {why}") from None
        answer = parsed(line)
        if (answer.get("version"), answer.get("agent")) != (VERSION, self._agent):
            raise DriftError("the plugin is of another version: bus-watch agent setup writes today's")
        if answer.get("pid") != self._pid:
            raise AsideError("the plugin at its socket is another process's")
        if "error" in answer:
            untouched = answer.get("untouched") is True
            raise PluginRefusedError(f"the plugin: {str(answer['error'])[:200]}", untouched=untouched)
        return answer


def shown(agent: str, site: Site, until: float, handed: str = "") -> "PluginSession":
    """The session of an agent whose process shows one, and whose plugin says which; `handed`: see `Module.find`.

    Raises:
        AsideError: there is no plugin, or it does not answer.
        DriftError: its answer is of another shape.
    """
    plugin = Plugin.of(agent, site)
    try:
        said = plugin.ask(until, op="look", suffix="")
    except LostError as why:
        if handed:
            return PluginSession(plugin, handed, busy=False)
        raise AsideError(str(why)) from None
    if not isinstance(said.get("session"), str) or not isinstance(said.get("busy"), bool):
        raise DriftError("the plugin's answer has not the shape that is known")
    return PluginSession(plugin, said["session"], busy=said["busy"])


def _line(link: socket.socket, until: float) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        if (left := until - time.monotonic()) <= 0:
            raise OSError("not in time")
        link.settimeout(left)
        part = link.recv(65536)
        if not part or len(data) > _MAX_ANSWER:
            raise OSError("the connection ended")
        data += part
    return data


class PluginSession:
    """A session that a plugin reaches; see `channel.Session`.

    The plugin's `look` says of a message whether the session has it (`found`), whether a turn took it (`answered`), and
    whether it was handed to the agent, whose session has it not yet (`pending`).
    """

    def __init__(self, plugin: Plugin, session: str, *, busy: bool) -> None:
        self._plugin, self.id, self.busy = plugin, session, busy
        self._pending = False

    def lookup(self, message: Message) -> Verdict | None:
        """See `channel.Session.lookup`."""
        until = time.monotonic() + 5
        try:
            found = self._look(message, until)
            if found is None and message.session not in {"", self.id}:
                found = self._look(message, until, message.session)
        except LostError as why:
            raise AsideError(str(why)) from None
        if found is None and self._pending:
            raise AsideError("the plugin has handed it over, and its session has it not yet")
        return found

    def send(self, message: Message, until: float) -> Verdict:
        """See `channel.Session.send`."""
        refused = ""
        try:
            self._plugin.ask(until, op="send", session=self.id, suffix=suffix_of(message), text=message.text)
        except PluginRefusedError as why:
            if why.untouched:
                raise NotTakenError(str(why)) from None
            refused = str(why)
        except NotTakenError:
            raise
        except (LostError, AsideError) as why:
            return Verdict("unproven", f"it was handed over, then {why}")
        return self._follow(message, refused, until)

    def _follow(self, message: Message, refused: str, until: float) -> Verdict:
        """What becomes of a message that was handed over; `refused`: the error that it was answered with."""
        began = time.monotonic()
        while True:
            unknown = ""
            try:
                found = self._look(message, until)
            except PluginRefusedError as why:  # it cannot tell, yet
                found, unknown = None, str(why)
            except (LostError, AsideError) as why:  # it has ended, or another listens there by now
                return Verdict("unproven", f"it was handed over, then {why}")
            if found is None and refused and not (unknown or self._pending):
                raise NotTakenError(refused)
            if found is not None and (found.verdict == "submitted" or self.busy):
                return found
            if time.monotonic() > until:
                return found or Verdict("unproven", f"it was handed over, but {unknown or 'its session has it not'}")
            time.sleep(pace(time.monotonic() - began))

    def close(self) -> None:
        """Each question has a connection of its own."""

    def _look(self, message: Message, until: float, other: str = "") -> Verdict | None:
        session = other or self.id
        said = self._plugin.ask(until, op="look", session=session, suffix=suffix_of(message))
        if not isinstance(said.get("found"), bool):
            raise DriftError("the plugin's answer has not the shape that is known")
        self.busy = bool(said.get("busy"))
        self._pending = bool(said.get("pending"))
        if not said["found"]:
            return None
        proof = f"session {session}"
        if said.get("answered"):
            return Verdict("submitted", "its turn began", proof)
        return Verdict("queued", "it waits behind what runs" if self.busy else "its session has it", proof)


def suffix_of(message: Message) -> str:
    """The part of the message's id in the session that is the same for every attempt."""
    return message.id[:14]
