"""Every state that an operator can meet, as a sentence."""

import time
from dataclasses import dataclass

from worker.ledger.lanes import LaneState, Obstacle, obstacle
from worker.ledger.report import DeliveryReport, LaneReport
from worker.terminal.said import said
from worker.times import span


@dataclass(frozen=True, slots=True)
class LaneContext:
    """What a sentence about a delivery needs to know of its lane."""

    report: LaneReport
    ordered: bool = True
    orphaned: bool = False
    running: DeliveryReport | None = None
    head: DeliveryReport | None = None
    workers: frozenset[str] = frozenset()  # those that live
    silent: float | None = None  # seconds since the last sign of life of its host; None: that lives, or is the only one

    @property
    def state(self) -> LaneState:
        """What the rules of a lane ask."""
        return LaneState(
            paused=self.report.paused,
            broken_since=self.report.broken_since,
            running=self.running.id if self.running else None,
            head=self.head.id if self.head else None,
        )


def way(printed: str | None) -> dict[str, str]:
    """By which `channel` an attempt went, and its `proof`, from what it printed; empty where that is not told."""
    found = said(printed or "")
    if found is None or not found.agent or found.verdict not in {"submitted", "queued", "unproven"}:
        return {"channel": "", "proof": ""}
    return {"channel": found.channel, "proof": found.proof}


def sentence(delivery: DeliveryReport, lane: LaneContext, now: float | None = None) -> str:
    """Why this delivery is where it is, and what comes next."""
    moment = time.time() if now is None else now
    match delivery.state:
        case "running":
            return _running(delivery, lane, moment)
        case "waiting" | "retrying":
            return _pending(delivery, lane, moment)
        case "held":
            return delivery.reason or "nobody knows whether it was done; retry it or drop it"
        case "succeeded":
            return f"done, in attempt {delivery.starts}"
        case _:
            return delivery.reason or delivery.state


def _running(delivery: DeliveryReport, lane: LaneContext, now: float) -> str:
    since = now - (delivery.started_at or now)
    words = f"attempt {delivery.starts} runs since {span(since)} (time-out {span(delivery.timeout or 0)})"
    if lane.silent is not None:
        words += (
            f"; its host {lane.report.host} has given no sign for {span(lane.silent)}: it will tell, once it is back"
        )
    elif delivery.worker not in lane.workers:
        words += "; its worker is gone: a running worker's sweep settles it"
    elif delivery.timeout is not None and since > delivery.timeout + 10:
        words += "; its worker does not answer: is the process stopped?"
    if delivery.cancel:
        words += "; dropped when it ends, unless it succeeds"
    return words + (f"; before: {delivery.reason}" if delivery.reason else "")


def _pending(delivery: DeliveryReport, lane: LaneContext, now: float) -> str:
    name = lane.report.transport
    if lane.orphaned and lane.silent is None:
        return f"transport {name} is not configured any more: configure it again, or drop this"
    match obstacle(lane.state, delivery.id, delivery.next_at, ordered=lane.ordered, now=now):
        case Obstacle.PAUSED:
            return f"paused: bus-watch resume {name}" + _last(delivery)
        case Obstacle.LANE_RUNS | Obstacle.NOT_HEAD:
            first = lane.running or lane.head or delivery
            return f"behind {first.message_id}, which {_now(first, now)}"
        case Obstacle.NOT_DUE:
            return _later(delivery, lane, now)
    if lane.report.moving_to is not None:
        return f"moves to {lane.report.moving_to}, which takes it over" + _last(delivery)
    if lane.silent is not None:
        return (
            f"waits for its host {lane.report.host}, which has given no sign for {span(lane.silent)}: "
            "bus-watch hosts" + _last(delivery)
        )
    if not lane.workers:
        return "due now, but no worker is running: bus-watch run" + _last(delivery)
    return "due now" + _last(delivery)


def _later(delivery: DeliveryReport, lane: LaneContext, now: float) -> str:
    wait = span((delivery.next_at or now) - now)
    if delivery.state == "waiting":
        return f"{delivery.reason or 'put off'}; looks again in {wait}"
    if lane.report.broken_since is not None:
        return f"nobody there since {span(now - lane.report.broken_since)}; looks again in {wait}{_last(delivery)}"
    return f"attempt {delivery.starts + 1} in {wait}{_last(delivery)}"


def _now(delivery: DeliveryReport, now: float) -> str:
    if delivery.state == "running":
        return f"runs since {span(now - (delivery.started_at or now))}"
    if delivery.next_at is not None and delivery.next_at > now:
        verb = "retries" if delivery.state == "retrying" else "is put off and due"
        return f"{verb} in {span(delivery.next_at - now)}{_last(delivery)}"
    return f"is due now{_last(delivery)}"


def _last(delivery: DeliveryReport) -> str:
    return f": {delivery.reason}" if delivery.reason else ""
