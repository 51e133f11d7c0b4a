"""The chain: one attempt to get one message into the agent of one pane, by the first link that takes it.

A link that steps aside has given the agent nothing, so the next is tried. Before a channel of an agent's own gets a
message, that is noted on the disk; whoever has the same message again looks there first, also in another pane. What an
earlier attempt handed over is looked up, and if it cannot be known what became of it, that is the verdict: no other
link is tried.

Promises: two links never both deliver. A channel is used while the pane's lock is ours, so what several senders send to
one pane arrives in the order in which they came, however it goes.
"""

import contextlib
import hashlib
import os
import time

from msgspec.structs import replace

from worker.errors import BusWatchError
from worker.fault_steps import step
from worker.terminal import processes, target
from worker.terminal.catalogue import Catalogue
from worker.terminal.channels import handed, queued
from worker.terminal.channels.channel import AsideError, Message, NotTakenError, Session, Site
from worker.terminal.channels.names import TYPE, links, no_link
from worker.terminal.channels.sites import module, site_of
from worker.terminal.leftover import PasteNote, fate_of
from worker.terminal.pace import pace
from worker.terminal.places import Pane
from worker.terminal.processes import Process
from worker.terminal.profiles import Profile
from worker.terminal.proof import Verdict
from worker.terminal.runner import LocalRunner
from worker.terminal.submit import HandedOverError, Options, Outcome, checked, prepared, submit
from worker.terminal.target import Agent
from worker.terminal.tmux import Look, PaneLock, Server
from worker.terminal.versions import version_of
from worker.terminal.visit import DeferredError

_FRESH = 2.0  # seconds that an agent may take to show what a sender that died has handed to it
_APPEARS = 10.0  # seconds for the channel of an agent that was just started to be there again
_STARTS = 60.0  # seconds within which it is left to a later attempt to ask such an agent


def deliver(
    server: Server, place: str, message: str, options: Options, profiles: Catalogue, via: str, authority: str = "any"
) -> Outcome:
    """Get `message` into the pane that `place` means, and say what became of it. Keeps the time-out.

    `via` is one of `names.VIA`, `authority` one of `names.AUTHORITY`.

    Raises:
        TextError: there is nothing to send, or too much.
    """
    return _Chain(server, place, checked(message), options, profiles, via, authority).run()


class _Chain:
    """One message on its way."""

    def __init__(
        self, server: Server, place: str, text: str, options: Options, profiles: Catalogue, via: str, authority: str
    ) -> None:
        self._server, self._place, self._text = server, place, text
        self._options, self._profiles, self._via, self._authority = options, profiles, via, authority
        self._remote = not isinstance(server.runner, LocalRunner)
        self._began = time.monotonic()
        self._deadline = self._began + options.timeout
        # The place is part of it: one message may be for two panes whose agents keep their records in one folder.
        where = f"{server.runner.host}\0{server.socket}\0{place}"
        name = f"{options.key}\0{where}\0{text}".encode() if options.key else os.urandom(16)
        self._message = Message(hashlib.sha256(name).hexdigest()[:32], text)
        self._passed: list[str] = []
        self._pane = ""
        self._resolved: Pane | None = None
        self._agent: Agent | None = None

    def run(self) -> Outcome:
        """The first link that takes it; the outcome says why better ones did not."""
        try:
            outcome = self._run()
        except HandedOverError as why:
            outcome = self._outcome(why.channel, Verdict("unproven", str(why)))
        except DeferredError as why:
            outcome = self._outcome(TYPE, Verdict("deferred", str(why)))
        outcome.passed = tuple(self._passed)
        return outcome

    def _run(self) -> Outcome:
        native = self._via != TYPE
        if self._remote and native:
            self._passed.append("the pane is on another host, where only typing reaches")
        if self._remote or not (native or self._options.key) or self._options.allow_shell:
            return self._type() if self._via in {"auto", TYPE} else self._none("")
        if not native:
            with contextlib.suppress(HandedOverError):
                return self._type()
        try:
            pane = target.resolve(self._server, self._place, self._profiles)
            agent = target.identify(self._server, pane, self._profiles, chosen=self._options.agent)
        except BusWatchError as why:
            return self._type() if self._via in {"auto", TYPE} else self._none(str(why))
        self._pane, self._resolved = pane.id, pane
        self._agent = agent
        if agent.process is None:
            return self._type()
        born = time.time() - agent.process.age
        site = self._site(pane, agent.process)
        if (known := self._earlier(pane, agent.process, born, site)) is not None:
            return self._outcome(known[0], known[1])
        return self._by_turns(pane, site, agent.profile)

    def _site(self, pane: Pane, process: Process) -> Site:
        """Where the agent is now."""
        look = self._server.look(pane.id)
        return site_of(self._server, pane, look, process, processes.foreground(self._server.runner, pane.tty, pane.pid))

    def _by_turns(self, pane: Pane, site: Site, profile: Profile) -> Outcome:
        """Link by link."""
        tried = links(profile.name, self._via, self._authority)
        held: Outcome | None = None
        for link in tried:
            if link == TYPE:
                held = self._type()
                if held.verdict != "deferred" or link == tried[-1]:
                    return held
                self._passed.append(f"{TYPE}: {held.reason}")
                continue
            self._say(f"trying {link}")
            outcome = self._by(link, PaneLock(self._server, pane), site, profile)
            if outcome is not None:
                return outcome
        return held or self._none("" if tried else no_link(profile.name, self._via, self._authority))

    def _none(self, why: str) -> Outcome:
        reasons = "; ".join(filter(None, [why, *self._passed]))
        outcome = Outcome("refused", f"no channel took it: {reasons}", pane=self._pane, host=self._server.runner.host)
        return self._named(outcome)

    def _type(self) -> Outcome:
        """Type it. HandedOverError: an earlier attempt has handed it to a channel, and nothing was typed."""
        left = self._deadline - time.monotonic()
        overtakes = self._would_overtake()
        when_idle = self._options.when_idle or overtakes
        options = replace(self._options, timeout=left, may_type=self._may_type, when_idle=when_idle)
        outcome = submit(self._server, self._place, self._text, options, self._profiles, self._resolved)
        if overtakes and outcome.verdict == "deferred":
            outcome.reason += "; an earlier message waits in the agent's own queue, which typing would overtake"
        outcome.channel = TYPE
        return outcome

    def _would_overtake(self) -> bool:
        """Whether an earlier message waits in a queue of the agent's own, and this one would be read before it."""
        if self._remote or not self._options.key or not queued.is_any():
            return False
        try:
            pane = self._resolved or target.resolve(self._server, self._place, self._profiles)
            agent = self._agent or target.identify(self._server, pane, self._profiles, chosen=self._options.agent)
            name, process = agent.profile.name, agent.process
            return name in queued.AGENTS and process is not None and queued.waits(name, self._site(pane, process))
        except BusWatchError:
            return False  # typing says what is wrong

    def _may_type(self) -> None:
        if (note := self._note()) is None:
            return
        if not self._message.ended:
            raise _unknown(note, "only its own channel can tell, and this attempt is to type")
        self._withdraw()

    def _note(self) -> handed.Note | None:
        """The note of an earlier attempt's. DeferredError: it cannot be told whether there is one."""
        if self._remote or not self._options.key:
            return None
        try:
            return handed.noted(self._message.id)
        except OSError as why:
            raise DeferredError(
                f"whether an earlier attempt handed it to a channel cannot be read: {why.filename}: {why.strerror}"
            ) from None

    def _earlier(self, pane: Pane, process: Process, born: float, site: Site) -> tuple[str, Verdict] | None:
        """What became of this message if an earlier attempt has handed it to a channel; None: it may be sent.

        Args:
            pane: the pane.
            process: its agent's.
            born: when that started, in seconds since 1970.
            site: where the agent was found.

        Raises:
            HandedOverError: that cannot be known.
        """
        if (note := self._note()) is None:
            return None
        starting = born > max(note.at, time.time() - _STARTS)
        if (left := note.at + _FRESH - time.time()) > 0:
            time.sleep(min(left, _FRESH))
        began = time.monotonic()
        while True:
            try:
                session = module(note.channel).find(site, self._deadline, note.session)
                try:
                    found = session.lookup(Message(self._message.id, self._text, note.session, note.ended))
                finally:
                    session.close()
                break
            except (AsideError, ImportError) as why:
                if time.monotonic() > min(began + _APPEARS, self._deadline - self._reserve):
                    if starting:
                        words = f"an earlier attempt handed it to {note.channel}, and the agent was started again"
                        return note.channel, Verdict("deferred", f"{words}: {why}")
                    raise _unknown(note, str(why)) from None
            time.sleep(pace(time.monotonic() - began))
            site = self._site(pane, process)
        if found is None and note.ended:
            # Its agent ended without it; the note is what tells this apart from a queue that is still there.
            self._message = Message(self._message.id, self._text, ended=True)
        elif found is None:
            self._withdraw()
        return None if found is None else (note.channel, found)

    def _withdraw(self) -> None:
        """The agent has not got it. A note that stays all the same means that it is looked up once more."""
        with contextlib.suppress(OSError):
            handed.withdraw(self._message.id)

    def _by(self, link: str, lock: PaneLock, site: Site, profile: Profile) -> Outcome | None:
        """By a channel; None: it stepped aside, and the agent has got nothing."""
        session: Session | None = None
        try:
            look = self._lock(lock)
            try:
                if self._options.key and self._typed_before(look, profile):
                    raise AsideError("an earlier attempt has typed it, and it may still stand in the input box")
                session = module(link).find(site, self._deadline - self._reserve)
                step("channel.found")
                if (known := session.lookup(self._message) if self._options.key else None) is not None:
                    return self._outcome(link, known)
                if self._options.when_idle and session.busy:
                    raise DeferredError("busy: a turn runs")
                return self._outcome(link, self._send(link, session, lock, site.process.pid))
            finally:
                if session is not None:
                    session.close()
                with contextlib.suppress(BusWatchError):  # what was handed over stays so, and the lock frees itself
                    lock.release()
        except AsideError as why:
            self._passed.append(f"{link}: {why}")
            self._say(f"{link} steps aside: {why}")
            return None
        except DeferredError as why:
            return self._outcome(link, Verdict("deferred", str(why)))
        except BusWatchError as why:
            self._passed.append(f"{link}: {why}")
            return None

    def _send(self, link: str, session: Session, lock: PaneLock, process: int) -> Verdict:
        """Note that the channel gets it, and hand it over. What comes out of it is why the agent has not got it."""
        if self._options.key:  # else no other attempt can be told that it is the same message
            try:
                handed.note(self._message.id, link, session.id, process)
            except OSError as why:
                self._withdraw()  # half of one is one to whoever comes next, who would not type either
                raise AsideError(f"no note of it can be made in {handed.FOLDER}: {why.strerror}") from None
            except AsideError as why:
                raise AsideError(f"no note of it can be made: {why}") from None
        try:
            if not lock.is_ours():
                raise AsideError("the pane changed in the last moment")
            step("channel.noted")
            return self._handed(link, session)
        except BusWatchError:
            self._withdraw()
            raise

    def _handed(self, link: str, session: Session) -> Verdict:
        try:
            return session.send(self._message, self._deadline - 0.2)
        except NotTakenError:
            raise
        except BusWatchError as why:
            return Verdict("unproven", f"it was handed to {link}, then: {why}")
        except Exception as why:  # noqa: BLE001 - from here on even our own bug must not read as "try it again"
            return Verdict("unproven", f"it was handed to {link}, then this program failed: {type(why).__name__}")

    def _typed_before(self, look: Look, profile: Profile) -> bool:
        """Whether an earlier attempt has typed this message: what the pane says of it is for typing to judge."""
        if profile.composer is None:
            return False
        note = PasteNote.of(prepared(self._text, profile), f"{self._options.key}{self._pane}")
        there = PasteNote.read(look.note)
        return (there is not None and there.id == note.id) or fate_of(note, look.fates) != ""

    @property
    def _reserve(self) -> float:
        return min(4.0, self._options.timeout / 2)

    def _lock(self, lock: PaneLock) -> Look:
        while (look := lock.acquire(self._deadline - time.monotonic() + 5)) is None:
            if time.monotonic() > self._deadline - self._reserve:
                raise DeferredError("another sender is at work in this pane")
            time.sleep(0.05)
        return look

    def _outcome(self, channel: str, verdict: Verdict) -> Outcome:
        process = self._agent.process if self._agent is not None else None
        if channel in queued.AGENTS and verdict.verdict == "queued" and self._options.key and process is not None:
            queued.note(channel, process.pid, self._message.id)
        took = round(time.monotonic() - self._began, 3)
        outcome = Outcome(
            verdict.verdict,
            verdict.reason,
            pane=self._pane,
            proof=verdict.proof,
            timings={"end": took},
            channel=channel,
        )
        return self._named(outcome)

    def _named(self, outcome: Outcome) -> Outcome:
        """With the agent's name and version."""
        if self._agent is not None:
            profile = self._agent.profile
            outcome.agent, outcome.measured = profile.name, profile.measured
            outcome.version = version_of(self._agent.process, profile.commands)
        return outcome

    def _say(self, what: str) -> None:
        self._options.narrate(f"{time.monotonic() - self._began:6.2f} s  {what}")


def _unknown(note: handed.Note, why: str) -> HandedOverError:
    return HandedOverError(
        note.channel,
        f"an earlier attempt handed it to {note.channel}, and what became of it cannot be known: {why}; "
        f"if the agent has not got it: rm {note.path}, and it is sent again",
    )
