"""The checks of `doctor` on how the bus is reached, without asking it."""

import sys
from collections.abc import Iterator

from worker.doctor.finding import Finding
from worker.settings import Settings
from worker.urls import in_local_network, travels_in_clear

ON_MACOS = sys.platform == "darwin"


def check(settings: Settings) -> Iterator[Finding]:
    """Tokens in the clear, what macOS may not allow, budgets that the bridge does not grant."""
    for agent in settings.agents:
        if travels_in_clear(agent.bridge_url):
            text = f"the token travels in the clear to {agent.bridge_url}, as allow_insecure_http says"
            yield Finding("note", "bridge_url", text, agent.agent)
        if ON_MACOS and in_local_network(agent.bridge_url):
            text = (
                f"{agent.bridge_url} is in the local network: macOS 15 and later may keep a launchd job from it (no "
                "route to host) while it answers here; allow it in System Settings, Privacy & Security, Local Network"
            )
            yield Finding("note", "bridge_url", text, agent.agent)
        if agent.requests_per_minute > 60:
            text = f"{agent.requests_per_minute}, where bridges allow 60 unless the token is an elevated one"
            yield Finding("note", "requests_per_minute", text, agent.agent)
