"""The checks of `doctor` that ask the bus: the token, one page of each inbox, and what time it is there."""

import http.client
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from worker.bus.client import BusClient
from worker.bus.endpoints import endpoint_of
from worker.bus.errors import BusError
from worker.bus.sources import sources
from worker.doctor.finding import Finding
from worker.doctor.troubles import CLOCK_SECONDS
from worker.errors import TokenError
from worker.settings import AgentSettings, Settings
from worker.urls import bridge_address

REQUEST_SECONDS = 45.0  # a bridge whose Redis is down answers after up to 36 s
FUTURE_SECONDS = 60.0  # a message whose id is so far ahead of our clock


def tokens(settings: Settings, *, offline: bool, environment: dict[str, str]) -> Iterator[Finding]:
    """Whether each agent has a token, and the bus accepts it."""
    with BusClient() as bus:
        for agent in settings.agents:
            in_service = agent.token_file is not None and "$CREDENTIALS_DIRECTORY" in agent.token_file
            if in_service and "CREDENTIALS_DIRECTORY" not in environment:
                text = "systemd hands it to the service; it cannot be tried from here"
                yield Finding("note", "token", text, agent.agent)
                continue
            source = agent.token_source(settings.config_path)
            try:
                source.read()
            except TokenError as error:
                yield Finding("FAIL", "token", str(error), agent.agent)
                continue
            yield Finding("ok", "token", str(source.path or "found"), agent.agent)
            if not offline:
                yield _inbox(bus, agent, settings)


def _inbox(bus: BusClient, agent: AgentSettings, settings: Settings) -> Finding:
    endpoint = endpoint_of(agent, agent.token_source(settings.config_path).read)
    endpoint = replace(endpoint, request_timeout=REQUEST_SECONDS)
    now = time.time()
    try:
        messages = sources(bus)[agent.bus_kind].glance(endpoint)
    except BusError as error:
        text = str(error).removesuffix(" Retrying.")
        return Finding("FAIL", "bus", f"{agent.bridge_url}: {text}", agent.agent)
    if any(message.ms > (now + FUTURE_SECONDS) * 1000 for message in messages):
        return Finding("FAIL", "bus", "it holds messages from the future: set the clock, here or there", agent.agent)
    return Finding("ok", "bus", f"{agent.bridge_url} accepts the token", agent.agent)


def clocks(settings: Settings) -> Iterator[Finding]:
    """Whether our clock agrees with each bridge's: ages, floors and `expires_after` go by it."""
    for url in dict.fromkeys(agent.bridge_url for agent in settings.agents):
        ahead = _clock_ahead(url)
        if ahead is None:
            continue  # no Date, or nobody there, which the check of the bus has said
        if abs(ahead) >= CLOCK_SECONDS:
            word = "ahead of" if ahead > 0 else "behind"
            text = f"ours is {abs(ahead):.0f} s {word} the one at {url}: set it (timedatectl set-ntp true)"
            yield Finding("FAIL", "clock", text)
        else:
            yield Finding("ok", "clock", f"agrees with the one at {url}")


def _clock_ahead(url: str) -> float | None:
    """Seconds, from the Date of an answer that needs no token (RFC 9110, 6.6.1)."""
    parts = bridge_address(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path}/health")
        date = connection.getresponse().getheader("Date")
        return None if date is None else (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return None
    finally:
        connection.close()
