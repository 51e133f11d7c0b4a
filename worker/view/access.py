"""What all views share: the ledger opened for reading, and lanes put together for sentences."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from worker.ledger import configured, hosts, report
from worker.ledger.living import living_workers, served
from worker.ledger.port import Tx
from worker.settings import Settings
from worker.view.words import LaneContext


@contextlib.contextmanager
def ledger_of(settings: Settings) -> Iterator[Tx]:
    """The ledger of this configuration, read-only: one moment of it, however long the command looks."""
    with configured.reading(settings) as db:
        yield db


class Hosts(NamedTuple):
    """What lives: the ids of workers, and the (agent, transport) that they have.

    `silent`: the hosts of a fleet that show no sign of life, each with the seconds since its last.
    """

    workers: frozenset[str]
    served: frozenset[tuple[str, str]]
    silent: Mapping[str, float]


def hosts_of(db: Tx, settings: Settings) -> Hosts:
    """All hosts, or the only one."""
    workers = living_workers(db, settings)
    now = db.now()
    silent = {
        str(row["name"]): now - row["seen_at"] for row in hosts.every(db) if not hosts.is_alive(row["seen_at"], now)
    }
    return Hosts(frozenset(str(row["id"]) for row in workers), served(workers), silent)


def lane_of(db: Tx, settings: Settings, lane: report.LaneReport, hosts: Hosts) -> LaneContext:
    """A lane with its running delivery and its head."""
    transport = settings.transport(lane.agent, lane.transport)
    running = report.running(db, lane.id)
    return LaneContext(
        report=lane,
        ordered=transport.ordered if transport else True,
        orphaned=transport is None and (lane.agent, lane.transport) not in hosts.served,
        silent=hosts.silent.get(lane.host or ""),
        running=running[0] if running else None,
        head=report.head(db, lane.id),
        workers=hosts.workers,
    )


def key_of(row: report.DeliveryReport) -> str:
    """The key of a delivery's message: the short one, where that is no other's too."""
    return f"{row.agent}/{row.stream}/{row.message_id}" if row.ambiguous else f"{row.agent}/{row.message_id}"
