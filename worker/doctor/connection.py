"""The checks of `doctor` on how the bus is reached, without asking it."""

from collections.abc import Iterator

from worker.doctor.finding import Finding
from worker.settings import Settings
from worker.urls import travels_in_clear


def check(settings: Settings) -> Iterator[Finding]:
    """Tokens in the clear, budgets that the bridge does not grant."""
    for agent in settings.agents:
        if travels_in_clear(agent.bridge_url):
            text = f"the token travels in the clear to {agent.bridge_url}, as allow_insecure_http says"
            yield Finding("note", "bridge_url", text, agent.agent)
        if agent.requests_per_minute > 60:
            text = f"{agent.requests_per_minute}, where bridges allow 60 unless the token is an elevated one"
            yield Finding("note", "requests_per_minute", text, agent.agent)
