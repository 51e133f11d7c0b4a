"""What the settings say of a lane: the transport it runs, and what a claim must know."""

from pathlib import Path
from typing import NamedTuple

from worker.alert_settings import ALERTS
from worker.ledger import lanes
from worker.ledger.groups import LaneSettings
from worker.ledger.lane_hosts import RunOn
from worker.ledger.lanes import Lane
from worker.ledger.port import Tx
from worker.settings import Settings, TransportSettings
from worker.transports.command import Command

ARGUMENT_BYTES = 96 * 1024  # of a group whose text is an argument: Linux allows 128 KiB, with whatever is around it


class LaneConfig(NamedTuple):
    """What the settings say of a lane, put together once for all of its deliveries."""

    transport: TransportSettings
    claim: LaneSettings
    command: Command
    config_path: Path


class LaneLookup:
    """The settings that are in force, asked by lane; `settings` is replaced as a whole where they change."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lanes: dict[int, Lane] = {}  # these never change

    @property
    def settings(self) -> Settings:
        """Those that are in force."""
        return self._in_force[0]

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._in_force: tuple[Settings, dict[tuple[str, str], LaneConfig]] = (settings, {})

    def config(self, agent: str, name: str) -> LaneConfig | None:
        """What holds for a lane now, and for a claim that is made now until it has ended; None for an orphaned lane."""
        settings, known = self._in_force
        found = known.get((agent, name))
        if found is None and (transport := settings.transport(agent, name)) is not None:
            command = Command(
                transport.templates,
                allowlist=settings.allowed_for(agent),
                extra_env=transport.env,
                stdin=transport.stdin,
            )
            found = LaneConfig(
                transport, lane_settings_of(transport, settings.run_on(agent, name)), command, settings.config_path
            )
            known[agent, name] = found
        return found

    def transport(self, agent: str, name: str) -> TransportSettings | None:
        """The transport of a lane; None for an orphaned lane."""
        return self.settings.transport(agent, name)

    def transport_of(self, tx: Tx, lane_id: int) -> TransportSettings | None:
        """The same, by the lane's id."""
        lane = self._lanes.get(lane_id) or lanes.find(tx, lane_id)
        if lane is None:
            return None
        self._lanes[lane_id] = lane
        return self.settings.transport(lane.agent, lane.transport)

    def is_of_alerts(self, lane_id: int) -> bool:
        """Whether a lane that `transport_of` knows tells people of alerts."""
        return self._lanes[lane_id].agent == ALERTS

    def run_on(self, agent: str, name: str) -> RunOn:
        """In a fleet: which hosts may run the lane."""
        return self.settings.run_on(agent, name)

    def claim_settings(self, agent: str, transport: str) -> LaneSettings | None:
        """What a claim must know of a lane's settings; None for an orphaned lane."""
        found = self.config(agent, transport)
        return found.claim if found else None


def lane_settings_of(transport: TransportSettings, run_on: RunOn = None) -> LaneSettings:
    """The part of a transport's settings that a claim depends on; `run_on`: its own, or its agent's."""
    return LaneSettings(
        run_on=run_on,
        ordered=transport.ordered,
        timeout=transport.timeout,
        max_wakes_per_minute=transport.max_wakes_per_minute,
        max_wakes_per_source=transport.max_wakes_per_source,
        expires_after=transport.expires_after,
        coalesce=transport.coalesce,
        coalesce_max=min(transport.coalesce_max, ARGUMENT_BYTES)
        if transport.text_is_argument
        else transport.coalesce_max,
    )
