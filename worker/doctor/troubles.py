"""What keeps messages from arriving now, and what to do about it: for `status`, `doctor` and alerts alike.

Nothing here needs the bus: the ledger tells, and what the running worker wrote down about itself.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from worker import __version__
from worker.conditions import Condition
from worker.ledger import disk, drift, hosts, leases, notices, outbox, report, this_host, timeline
from worker.ledger.intake import MALFORMED_SECONDS
from worker.ledger.living import served
from worker.ledger.port import Row, Tx
from worker.ledger.report import DeliveryReport, LaneReport
from worker.notices import read_brake
from worker.outgoing import key_of
from worker.settings import AgentSettings, Settings
from worker.times import ago, span

SILENT_SECONDS = 60.0  # a bus that has not answered for so long is worth a line; sooner where `stuck_after` is shorter
UNANSWERED_SECONDS = 120.0  # a poll that has neither been answered nor failed for so long, beyond its interval
STALE_SWEEP_SECONDS = leases.RENEW_SECONDS + 60.0  # a sweep that finds nothing to do is written down so often
CLOCK_SECONDS = 5.0
TOKEN_CODES = frozenset({"bus-unauthorized", "bus-identity", "token"})
DRIFT_SECONDS = 3600.0  # an unknown screen is worth a line for so long ...
DRIFT_COUNT = 3  # ... from the third on: one may be a menu that somebody has left open
BRAKE_SECONDS = 3600.0  # that another worker holds what it writes to ours is worth a line for so long
STUCK_SECONDS = 300.0  # in the outbox, where no transport of its sender has a shorter `stuck_after`
HOST_SECONDS = 120.0  # without a sign of life of a host that has something to do: a machine that starts anew is faster
OVERDUE_SECONDS = 10.0  # a transport that has run longer than its time-out by this: nobody ends it


class Trouble(NamedTuple):
    """One thing that is wrong."""

    condition: Condition
    about: str
    """Whose it is: an agent, `AGENT TRANSPORT`, a worker, a UI; empty: the whole's. Condition and this together are a
    name that stays the same for as long as the trouble lasts."""
    words: str
    """A sentence for a person, with what to do. It may quote what a transport printed."""
    plain: str = ""
    """The same without such a quotation; empty: there is none."""
    is_new: bool = False
    """It has only begun, and may pass by itself: `status` shows it, and nobody is called."""
    delivery: int | None = None
    """The delivery that it is about, where it is about one."""
    is_silence: bool = False
    """Something was not written down for a while; who lives writes seldom where nothing happens, and is asked first."""

    @property
    def quotes_nothing(self) -> str:
        """The sentence, without what a transport printed."""
        return self.plain or self.words


def troubles(
    db: Tx, settings: Settings, workers: Sequence[Row], lanes: Sequence[LaneReport], now: float
) -> list[Trouble]:
    """What keeps messages from arriving, worst first. `workers` are those that live."""
    return [
        *_of_workers(workers, settings, now),
        *_of_inboxes(report.inboxes(db), settings, workers, now),
        *_of_hosts(db, settings),
        *_of_lanes(db, lanes, settings, served(workers), now),
        *_of_outbox(db, settings, now),
        *_of_screens(db, now),
    ]


def left_over(lanes: Sequence[LaneReport]) -> Iterator[Trouble]:
    """What did not arrive, and waits for a person; it keeps nothing else. Of several lanes together, or of one."""
    about = f"{lanes[0].agent} {lanes[0].transport}" if len(lanes) == 1 else ""
    if held := sum(lane.held for lane in lanes):
        yield Trouble(Condition.HELD, about, f"{held} held: nobody knows whether they were done; see bus-watch queue")
    if dead := sum(lane.dead for lane in lanes):
        yield Trouble(Condition.DEAD, about, f"{dead} dead: bus-watch queue says why; retry or drop them")


def low_disk(ledger: Path) -> Iterator[Trouble]:
    """Whether the ledger's disk is nearly full."""
    try:
        free = disk.free_bytes(ledger)
    except OSError:
        return
    if free < disk.LOW_BYTES:
        words = f"only {free // 2**20} MiB free on the ledger's disk: new mail will wait on the bus"
        yield Trouble(Condition.DISK_LOW, "", words)


def _of_workers(workers: Sequence[Row], settings: Settings, now: float) -> Iterator[Trouble]:
    for row in workers:
        if row["kind"] != "consumer":
            continue
        name = f"worker {row['pid']}" + (f" on {row['host']}" if row["host"] else "")
        if now - max(row["swept_at"] or 0.0, row["started_at"]) > STALE_SWEEP_SECONDS:
            words = f"{name} has not swept since {ago(row['swept_at'], now)}: it hangs, or is stopped; restart it"
            yield Trouble(Condition.WORKER_SILENT, name, words, is_silence=True)
        if row["health"] and row["health"] != "ok":
            yield Trouble(Condition.WORKER_SILENT, name, f"{name}: {row['health']}")
        yield from (Trouble(Condition.CONFIGURATION, "", words) for words in _not_as_installed(row, name, settings))


def _not_as_installed(row: Row, name: str, settings: Settings) -> Iterator[str]:
    if row["version"] != __version__:
        yield f"{name} is version {row['version']}, installed is {__version__}: restart it"
    if row["config_error"]:
        yield f"the configuration is refused, that of before is in force: {row['config_error']}"
    if row["needs_restart"]:
        yield f"{name}: {row['needs_restart']} changed in the configuration: restart it"
    if row["serves"] and not row["config_error"] and row["host"] == this_host.known(settings):
        yield from _not_the_same(json.loads(row["serves"]), settings)


def _not_the_same(serves: dict[str, list[str]], settings: Settings) -> Iterator[str]:
    """Where the running worker's agents and transports are not those of the configuration."""
    wanted = {agent.agent: [transport.name for transport in agent.transports] for agent in settings.agents}
    for agent in sorted(wanted.keys() - serves.keys()):
        yield f"{agent}: in the configuration, but the running worker does not know it: bus-watch reload"
    for agent in sorted(serves.keys() - wanted.keys()):
        yield f"{agent}: not in the configuration, but the running worker still serves it: bus-watch reload"
    for agent in sorted(wanted.keys() & serves.keys()):
        differ = sorted(set(wanted[agent]) ^ set(serves[agent]))
        if differ:
            yield f"{agent}: the running worker has other transports ({', '.join(differ)}): bus-watch reload"


def _of_inboxes(inboxes: dict[str, Row], settings: Settings, workers: Sequence[Row], now: float) -> Iterator[Trouble]:
    began = min((row["started_at"] for row in workers if row["kind"] == "consumer"), default=now)
    for agent in settings.agents:
        row = inboxes.get(agent.agent)
        if row is None:
            continue
        yield from _of_polls(agent, row, began, now)
        yield from (Trouble(Condition.INBOX, agent.agent, words) for words in _of_inbox(agent.agent, row, now))


def _of_polls(agent: AgentSettings, row: Row, began: float, now: float) -> Iterator[Trouble]:
    """Whether the bus answers."""
    name = agent.agent
    failing = now - (row["failing_since"] or now)
    refused = row["error_code"] in TOKEN_CODES and row["failures"] > 1
    lasts = failing > min([SILENT_SECONDS, *(transport.stuck_after for transport in agent.transports)])
    if row["error"] and (refused or lasts or row["polled_at"] is None):
        condition = Condition.TOKEN_REFUSED if row["error_code"] in TOKEN_CODES else Condition.BUS_DOWN
        words = f"{name}: no mail for {span(failing)}: {row['error']}"
        yield Trouble(condition, name, words, is_new=not (refused or lasts))
    silence = now - max(row["polled_at"] or 0.0, began)
    if not row["error"] and silence > max(agent.poll_interval, agent.broadcast_wait) + UNANSWERED_SECONDS:
        words = (
            f"{name}: no mail for {span(silence)}: the bus has begun an answer and does not end it, or its "
            "poll hangs; restart the worker if this lasts"
        )
        yield Trouble(Condition.BUS_DOWN, name, words, is_silence=True)


def _of_inbox(name: str, row: Row, now: float) -> Iterator[str]:
    """What is odd about what the bus answers."""
    if row["malformed_at"] is not None and 0 <= now - row["malformed_at"] < MALFORMED_SECONDS:
        count = max(1, row["malformed"])
        yield (
            f"{name}: {count} {'entry' if count == 1 else 'entries'} of its inbox skipped as no message, "
            f"{ago(row['malformed_at'], now)}: whoever sent them has to send them again; the log says what is wrong"
        )
    ahead = row["bus_ahead"] or 0.0
    if abs(ahead) >= CLOCK_SECONDS:
        word = "ahead of" if ahead > 0 else "behind"
        yield (
            f"{name}: the bus's clock is {span(abs(ahead))} {word} ours: set whichever is wrong "
            "(timedatectl set-ntp true); ages and expires_after go by it"
        )
    if row["floor_ms"] / 1000 > now + ahead + CLOCK_SECONDS:
        yield (
            f"{name}: its inbox begins {span(row['floor_ms'] / 1000 - now - ahead)} in the future: "
            "a clock was wrong; the next poll sets it back"
        )


def _of_outbox(db: Tx, settings: Settings, now: float) -> Iterator[Trouble]:
    """What our agents send, and the bus does not have."""
    for head in outbox.heads(db):
        agent = settings.agent(head.agent)
        row = outbox.find(db, head.id)
        since = now - row["created_at"]
        key = key_of(head.id)
        if agent is None:
            words = (
                f"{key}: {head.agent}, whose it is, is not configured any more: configure it, or bus-watch drop {key}"
            )
            yield Trouble(Condition.ORPHANED, head.agent, words)
        elif since >= min([STUCK_SECONDS, *(one.stuck_after for one in agent.transports)]):
            why = row["reason"] or "nobody has tried it"
            words = f"{head.agent} to {head.recipient}: {key} waits for {span(since)}: {why}; bus-watch queue --sent"
            yield Trouble(Condition.UNSENT, f"{head.agent} to {head.recipient}", words)
    yield from _of_brakes(db, settings, now)
    counts = outbox.counts(db)
    for state, condition in (("held", Condition.HELD), ("dead", Condition.DEAD)):
        if count := counts.get(state):
            words = f"{count} {state} in the outbox: bus-watch queue --sent says why; retry or drop them"
            yield Trouble(condition, "outbox", words)


def _of_brakes(db: Tx, settings: Settings, now: float) -> Iterator[Trouble]:
    """Who holds what it writes to our agents, as its worker has told; who is ours is told of below, as held."""
    seen = set()
    for row in notices.brakes(db, now - BRAKE_SECONDS):
        agent, other = row["agent"], row["source"].removeprefix("agent:")
        if settings.agent(agent) is None or settings.agent(other) is not None or (agent, other) in seen:
            continue
        brake = read_brake(row["text"], row["source"], agent)
        if brake is None:
            continue
        seen.add((agent, other))
        why = f"{brake.messages} messages in {span(brake.seconds)} and none of a human's"
        sentence = f"{agent} from {other}: what it writes is held there since {ago(row['received_at'], now)}: {why}"
        yield Trouble(Condition.HELD, f"{agent} from {other}", f"{sentence}; its owner retries it")


def _of_screens(db: Tx, now: float) -> Iterator[Trouble]:
    """UIs that show what their profile does not explain: they have changed, or somebody left a menu open."""
    for one in drift.screens(db):
        if now - one.last_at < DRIFT_SECONDS and one.times >= DRIFT_COUNT:
            name = f"{one.ui} {one.version}".strip()
            words = (
                f"{name}: {one.times} screens since {ago(one.first_at, now)} that its profile does not explain, "
                "and messages wait: bus-watch doctor --probe"
            )
            yield Trouble(Condition.DRIFTED, name, words)
    for one in drift.channels(db):
        if now - one.last_at < DRIFT_SECONDS and one.times >= DRIFT_COUNT:
            name = f"{one.ui} {one.version}".strip()
            words = (
                f"{name}: its channel was not as it was measured, {one.times} times since {ago(one.first_at, now)}: "
                "its messages are typed, or wait: bus-watch doctor"
            )
            yield Trouble(Condition.DRIFTED, f"{name} channel", words)


def _of_hosts(db: Tx, settings: Settings) -> Iterator[Trouble]:
    """Hosts of a fleet that give no sign of life while something waits; and those that are not configured as here."""
    if not settings.is_fleet:
        return
    now = db.now()
    silent = [row for row in hosts.every(db) if not hosts.is_alive(row["seen_at"], now) and row["forgotten_at"] is None]
    loads = hosts.loads(db) if silent else {}
    for row in silent:
        name, silence = row["name"], now - row["seen_at"]
        load = loads.get(name)
        if load is not None and (waits := load.waiting + load.running):
            words = (
                f"host {name} has given no sign for {span(silence)}, and {waits} of its messages wait: start its "
                f"worker; if it never comes back: bus-watch hosts forget {name}"
            )
            yield Trouble(Condition.WORKER_SILENT, f"host {name}", words, is_new=silence < HOST_SECONDS)
    if (changed := timeline.change(db)) is not None:
        words = (
            f"the ledger's server was restored, or another took over, {ago(changed.at, now)}: it may have forgotten "
            f"what was delivered last. {changed.held} lanes are held: look at bus-watch queue, then resume TRANSPORT"
        )
        yield Trouble(Condition.PAUSED, "ledger server", words)
    if behind := hosts.differing(db, settings):
        words = (
            f"{', '.join(behind)}: another configuration than here, in what all hosts should have alike "
            "(bus-watch hosts): copy it, or reload"
        )
        yield Trouble(Condition.CONFIGURATION, "", words, is_new=True)  # each host would call people for the others


def _of_lanes(
    db: Tx, lanes: Sequence[LaneReport], settings: Settings, served: frozenset[tuple[str, str]], now: float
) -> Iterator[Trouble]:
    heads, running = _heads(db), report.all_running(db)
    for lane in lanes:
        name = f"{lane.agent} {lane.transport}"
        transport = settings.transport(lane.agent, lane.transport)
        if transport is None and (lane.agent, lane.transport) in served:
            continue  # another host's, which looks after it
        if transport is None:
            if lane.waiting + lane.retrying + lane.held:
                words = (
                    f"{name}: not configured any more, and messages wait for it: configure it again, or drop them; "
                    "see bus-watch queue"
                )
                yield Trouble(Condition.ORPHANED, name, words)
        elif lane.broken_since is not None and not lane.paused:
            since = now - lane.broken_since
            says = f"{name}: nobody there since {span(since)}"
            yield Trouble(
                Condition.STUCK,
                name,
                f"{says} ({lane.broken_reason}); messages wait",
                f"{says}; messages wait",
                is_new=since < transport.stuck_after,
            )
        elif lane.paused:
            yield from _paused(lane, heads.get(lane.id), transport.stuck_after, now)
        elif lane.id in running:
            yield from _overdue(name, running[lane.id][0], now)
        else:
            yield from _stuck(name, heads.get(lane.id), transport.stuck_after, now)


Head = tuple[DeliveryReport, float]
"""What comes first in a lane, and since when it does: it came, or what was before it ended."""


def _heads(db: Tx) -> dict[int, Head]:
    before = report.heads_since(db)
    return {lane: (head, max(head.received_at, before.get(lane, 0.0))) for lane, head in report.heads(db).items()}


def _paused(lane: LaneReport, head: Head | None, after: float, now: float) -> Iterator[Trouble]:
    """A pause that somebody has forgotten, maybe."""
    if head is not None and (since := now - head[1]) >= after:
        count = lane.waiting + lane.retrying
        wait = f"{count} message waits" if count == 1 else f"{count} messages wait"
        name = f"{lane.agent} {lane.transport}"
        words = f"{name}: paused, and {wait}, {span(since)}: bus-watch resume {lane.transport}"
        yield Trouble(Condition.PAUSED, name, words, delivery=head[0].id)


def _overdue(name: str, runs: DeliveryReport, now: float) -> Iterator[Trouble]:
    """What has run for longer than it may."""
    since = now - (runs.started_at or now)
    if runs.timeout is not None and since > runs.timeout + OVERDUE_SECONDS:
        words = f"{name}: runs since {span(since)}, longer than its time-out: its worker hangs, or is stopped"
        yield Trouble(Condition.STUCK, name, words, delivery=runs.id)


def _stuck(name: str, found: Head | None, after: float, now: float) -> Iterator[Trouble]:
    """A lane whose head has not moved for so long."""
    if found is None or (lasts := now - found[1]) < after:
        return
    head = found[0]
    key = f"{head.agent}/{head.message_id}"
    why, quotation = _why(head)
    says = f"{name}: stuck for {span(lasts)}: {key} {why}"
    see = f"bus-watch show {key}"
    yield Trouble(Condition.STUCK, name, f"{says}{quotation}; {see}", f"{says}; {see}", delivery=head.id)


def _why(head: DeliveryReport) -> tuple[str, str]:
    """Why a head does not move; and what may quote something that a transport printed."""
    reason = f": {head.reason}" if head.reason else ""
    if head.state == "retrying":
        return f"failed {head.starts} {'time' if head.starts == 1 else 'times'}", f": {head.reason}"
    return ("waits", reason) if reason else ("waits, and nobody has tried it", "")
