"""Where an agent was found, and which channels would reach it there. Sends nothing."""

import contextlib
import importlib
import time
from typing import cast

from worker.terminal.channels.channel import AsideError, Module, Site
from worker.terminal.channels.names import CHANNELS
from worker.terminal.places import Pane
from worker.terminal.processes import Process
from worker.terminal.tmux import Look, Server
from worker.terminal.transcript import surroundings

_PATIENCE = 3.0  # seconds for a channel to answer a question


def site_of(server: Server, pane: Pane, look: Look, process: Process, group: list[Process]) -> Site:
    """The site of an agent: `process` is what its profile knows of the pane's foreground `group`."""
    path = ("display-message", "-p", "-t", pane.id, "#{pane_current_path}")
    where = surroundings(process.pid, lambda: server.call(*path).rstrip("\n"))
    return Site(process, tuple(group), where, look.title, look.screen)


def module(channel: str) -> Module:
    """The channel's module; only the one that is meant is loaded. ImportError: there is none."""
    if channel not in CHANNELS:
        raise ModuleNotFoundError(f"there is no channel {channel}")
    return cast("Module", importlib.import_module(f"worker.terminal.channels.{channel}"))


def preload() -> None:
    """Load every channel's module, and what they load late, for a process that is about to be forked for sends."""
    for name in CHANNELS:
        module(name)
    with contextlib.suppress(ImportError):
        importlib.import_module("wsproto")


def offered(agent: str, site: Site) -> dict[str, str]:
    """The agent's channels, each with why it does not reach this session; empty: it does."""
    found = {}
    for name in CHANNELS:
        if name != agent:
            continue
        try:
            module(name).find(site, time.monotonic() + _PATIENCE).close()
            found[name] = ""
        except AsideError as why:
            found[name] = str(why)
    return found
