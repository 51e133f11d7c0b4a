"""What the settings say of a lane: the transport it runs, and what a claim must know."""

from worker.alert_settings import ALERTS
from worker.ledger import lanes
from worker.ledger.groups import LaneSettings
from worker.ledger.lanes import Lane
from worker.ledger.port import Tx
from worker.settings import Settings, TransportSettings

ARGUMENT_BYTES = 96 * 1024  # of a group whose text is an argument: Linux allows 128 KiB, with whatever is around it


class LaneLookup:
    """The settings that are in force, asked by lane; `settings` is replaced as a whole where they change."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lanes: dict[int, Lane] = {}  # these never change

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

    def claim_settings(self, agent: str, transport: str) -> LaneSettings | None:
        """What a claim must know of a lane's settings; None for an orphaned lane."""
        return claim_settings(self.settings, agent, transport)


def claim_settings(settings: Settings, agent: str, transport: str) -> LaneSettings | None:
    """The same, for settings that may not be in force any more."""
    found = settings.transport(agent, transport)
    return lane_settings_of(found) if found else None


def lane_settings_of(transport: TransportSettings) -> LaneSettings:
    """The part of a transport's settings that a claim depends on."""
    return LaneSettings(
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
