"""Changes to a configuration that is there: what was asked for, and nothing else of its owner's."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from worker.install.config_file import STARTER, InstallOptions, executable, transports_of
from worker.install.errors import InstallError

TOKEN_KEYS = ("token", "token_file", "token_env")
OWN_KEYS = ("agent", *TOKEN_KEYS, "transports")  # of one agent; all else is as well a default for several


def names(data: Mapping[str, Any]) -> list[str]:
    """The agents of a configuration, in its order."""
    return [str(entry.get("agent")) for entry in _entries(data) if entry.get("agent")]


def merged(data: Mapping[str, Any], wishes: InstallOptions, environment: Mapping[str, str]) -> dict[str, Any]:
    """The configuration with these wishes for an agent that it has already.

    Raises InstallError where it is another's.
    """
    new = deepcopy(dict(data))
    entry = next((one for one in _entries(new) if one.get("agent", wishes.agent) == wishes.agent), None)
    if entry is None:
        own = wishes.config.with_name(f"bus-watch-{wishes.agent}.json")
        raise InstallError(
            f"{wishes.config} is for {', '.join(names(new))}, and stays so. For one more agent: "
            f"bus-watch agent add {wishes.agent}; or give it a file of its own: --config {own}"
        )
    entry.setdefault("agent", wishes.agent)
    _apply(new, entry, wishes, environment)
    return new


def added(data: Mapping[str, Any], wishes: InstallOptions, environment: Mapping[str, str]) -> dict[str, Any]:
    """The configuration with one more agent; a file of one becomes a list, in which the first is as it was.

    Raises InstallError where it is there already.
    """
    if wishes.agent in names(data):
        raise InstallError(f"{wishes.config} has {wishes.agent} already; to change it: bus-watch install --force")
    new = _as_list(data)
    entry: dict[str, Any] = {"agent": wishes.agent}
    new["agents"].append(entry)
    _apply(new, entry, wishes, environment)
    if not entry.get("transports", new.get("transports")):
        entry["transports"] = [dict(STARTER)]
        _allow(new, entry["transports"])
    return new


def removed(data: Mapping[str, Any], agent: str) -> dict[str, Any]:
    """The configuration without this agent, which is there and not the only one."""
    new = _as_list(data)
    new["agents"] = [entry for entry in new["agents"] if entry.get("agent") != agent]
    return new


def _entries(data: Mapping[str, Any]) -> list[Any]:
    """Where each agent's keys stand: in the list, or at the top where there is none."""
    listed = data.get("agents")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else [data]


def _as_list(data: Mapping[str, Any]) -> dict[str, Any]:
    new = deepcopy(dict(data))
    if "agents" in new:
        return new
    first = {key: new.pop(key) for key in OWN_KEYS if key in new}
    return {"agents": [first], **new}


def _apply(new: dict[str, Any], entry: dict[str, Any], wishes: InstallOptions, environment: Mapping[str, str]) -> None:
    given = {"token_file": wishes.token_file, "token_env": wishes.token_env}
    if any(given.values()):
        for key in TOKEN_KEYS:
            if given.get(key) is not None:
                entry[key] = given[key]
                continue
            entry.pop(key, None)
            if new.get(key) is not None:
                entry[key] = None  # a default of all agents, which would go before it
    asked = {"project": wishes.project, "bridge_url": wishes.bridge_url, "bus_kind": wishes.bus_kind}
    entry |= {key: value for key, value in asked.items() if value is not None}
    if wishes.start_from is not None:
        new["start_from"] = wishes.start_from
    wanted = transports_of(wishes, environment)
    if wanted:
        entry["transports"] = _with(entry.get("transports", new.get("transports", [])), wanted)
        _allow(new, wanted)


def _with(there: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each in the place of the one of its name, whose other keys stay; the starter, which wakes nobody, goes."""
    found = [deepcopy(one) for one in there if one != STARTER]
    for transport in wanted:
        for index, one in enumerate(found):
            if one.get("name") == transport["name"]:
                asked = {key: transport[key] for key in ("command", "stdin") if key in transport}
                found[index] = transport | one | asked
                break
        else:
            found.append(transport)
    return found


def _allow(new: dict[str, Any], transports: list[dict[str, Any]]) -> None:
    allowed = list(new.get("allowlist", []))
    new["allowlist"] = list(dict.fromkeys([*allowed, *(executable(transport) for transport in transports)]))
