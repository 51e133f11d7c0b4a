"""The hosts that share a ledger: when each was last seen, what it serves, and who is gone for good.

Times are the server's, in epoch seconds. A host is alive while one of its workers sweeps.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from worker.ledger.errors import HostTakenError, LedgerError
from worker.ledger.port import Row, Tx
from worker.ledger.this_host import Host
from worker.settings import Settings

ALIVE_SECONDS = 30.0
"""Whoever has swept so lately is alive: sweeps are 5 s apart."""

_ITS_OWN = {
    "host", "state_path", "ledger_url_file", "ledger_url_env", "ledger_url", "config_path", "log_file", "log_format",
    "log_level", "metrics_file", "sentry_dsn", "workers",
}  # fmt: skip
_SECRET = {"token", "token_file", "token_env"}


def is_alive(seen_at: float | None, now: float) -> bool:
    """Whether one that gave a sign of life then, if it ever did, is alive."""
    return now - (seen_at or 0.0) <= ALIVE_SECONDS


class Seen(NamedTuple):
    """What the ledger knows of a host. `serves`: (agent, transport) that its living workers have configured."""

    seen_at: float
    forgotten: bool
    serves: frozenset[tuple[str, str]]

    def is_lost(self, now: float, lost_after: float) -> bool:
        """Whether others may take what is not bound to it."""
        return self.forgotten or now - self.seen_at > lost_after


@dataclass(frozen=True, slots=True)
class Fleet:
    """The hosts at one moment, as one of them sees them; `lost_after` in seconds."""

    me: str
    now: float
    lost_after: float
    hosts: Mapping[str, Seen]

    def is_lost(self, host: str) -> bool:
        """Whether a host has not been seen for too long, or was forgotten; one that nobody has seen, too."""
        seen = self.hosts.get(host)
        return seen is None or seen.is_lost(self.now, self.lost_after)

    def is_forgotten(self, host: str) -> bool:
        """Whether a person has said that it will not come back."""
        seen = self.hosts.get(host)
        return seen is not None and seen.forgotten

    def serves(self, host: str, agent: str, transport: str) -> bool:
        """Whether a host that is not lost has this transport."""
        return not self.is_lost(host) and (agent, transport) in self.hosts[host].serves


def fingerprint(settings: Settings) -> str:
    """What differs where two hosts' configurations do, but for what is each host's own; it tells no secret."""
    whole = settings.model_dump(mode="json", exclude={**dict.fromkeys(_ITS_OWN, True), "agents": {"__all__": _SECRET}})
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:12]


def register(tx: Tx, host: Host, *, boot_id: str, version: str, fingerprint: str, now: float) -> None:
    """A worker of this host begins, or has read its configuration again. HostTakenError: the name is another's.

    One that was forgotten gives its name free.
    """
    row = tx.execute(
        """
        insert into hosts (name, id, boot_id, seen_at, version, fingerprint)
        values (:name, :id, :boot_id, :now, :version, :fingerprint)
        on conflict (name) do update set id = :id, boot_id = :boot_id, seen_at = :now, version = :version,
          fingerprint = :fingerprint, forgotten_at = null
        where hosts.id = :id or hosts.forgotten_at is not null
        returning name
        """,
        {**host._asdict(), "boot_id": boot_id, "now": now, "version": version, "fingerprint": fingerprint},
    ).fetchone()
    if row is None:
        raise taken(host.name)


def beat(tx: Tx, host: Host, worker: str, boot_id: str, now: float) -> None:
    """This worker sweeps: it and its host live. HostTakenError: another host has the name by now."""
    row = tx.execute(
        "update hosts set seen_at = ?, boot_id = ?, forgotten_at = null where name = ? and id = ? returning name",
        (now, boot_id, host.name, host.id),
    ).fetchone()
    if row is None:
        raise taken(host.name)
    tx.execute("update workers set seen_at = ? where id = ?", (now, worker))


def taken(name: str) -> HostTakenError:
    """The name is another host's."""
    return HostTakenError(
        f'the fleet knows a host {name} with another id: give this one a name of its own ({{"host": NAME}}); or, where '
        f"its folder was replaced and the old one is gone for good: bus-watch hosts forget {name}"
    )


def fleet(tx: Tx, me: str, lost_after: float) -> Fleet:
    """All hosts, now."""
    now = tx.now()
    serves: dict[str, set[tuple[str, str]]] = {}
    rows = tx.execute(
        "select host, serves from workers where stopped_at is null and kind = 'consumer' and seen_at >= ?",
        (now - max(lost_after, ALIVE_SECONDS),),
    )
    for row in rows:
        for agent, transports in json.loads(row["serves"] or "{}").items():
            serves.setdefault(row["host"], set()).update((agent, transport) for transport in transports)
    found = {
        row["name"]: Seen(row["seen_at"], row["forgotten_at"] is not None, frozenset(serves.get(row["name"], ())))
        for row in every(tx)
    }
    return Fleet(me, now, lost_after, found)


def every(db: Tx) -> list[Row]:
    """The rows of all hosts, by name."""
    return db.execute("select * from hosts order by name").fetchall()


def differing(db: Tx, settings: Settings) -> list[str]:
    """The hosts that live, and are not configured as it is here."""
    now, here = db.now(), fingerprint(settings)
    return [row["name"] for row in every(db) if is_alive(row["seen_at"], now) and row["fingerprint"] != here]


class Load(NamedTuple):
    """What a host has: lanes, and deliveries of these that run, wait, or are held or dead."""

    lanes: int
    running: int
    waiting: int
    stuck: int


def loads(db: Tx) -> dict[str, Load]:
    """Of each host that has a lane; the lanes that nobody has yet under an empty name."""
    rows = db.execute(
        """
        select coalesce(l.host, '') as host, count(distinct l.id) as lanes,
               sum(case when d.state = 'running' then 1 else 0 end) as running,
               sum(case when d.state in ('waiting', 'retrying') then 1 else 0 end) as waiting,
               sum(case when d.state in ('held', 'dead') then 1 else 0 end) as stuck
        from lanes l left join deliveries d
          on d.lane = l.id and d.state in ('waiting', 'retrying', 'running', 'held', 'dead')
        group by coalesce(l.host, '')
        """
    )
    return {row["host"]: Load(*map(int, list(row)[1:])) for row in rows}


def forget(tx: Tx, name: str, now: float) -> None:
    """A person says that a host will not come back: what is bound to it may run elsewhere.

    What it may still be running is waited for all the same (`attempts.must_be_over`). LedgerError: there is no such
    host, or it is alive.
    """
    row = tx.execute("select seen_at from hosts where name = ?", (name,)).fetchone()
    if row is None:
        raise LedgerError(f"the fleet has no host {name}; see: bus-watch hosts")
    if is_alive(row["seen_at"], now):
        raise LedgerError(f"{name} is alive: stop its workers first, and ask again {ALIVE_SECONDS:g} s later")
    tx.execute("update hosts set forgotten_at = ? where name = ? and seen_at = ?", (now, name, row["seen_at"]))
