"""Reading the configuration: one JSON file, `BUS_WATCH_*` overrides, errors that name the key and the fix.

The file of the old watcher (`~/.sos/bus-watch.json`) is read as it is. Keys outside `agents` are defaults for each
agent; a variable overrides its key for all of them.
"""

import difflib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.alert_settings import AlertSettings, ChannelSettings
from worker.errors import ConfigError
from worker.file_modes import exposed
from worker.plain_files import read_plain
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.state_files import CONFIG_VARIABLE, DEFAULT_CONFIG, ENV_PREFIX

LONGEST = 16 * 1024 * 1024  # bytes; a thousand agents take 1 MB

_AGENT_KEYS = frozenset(AgentSettings.model_fields)
_TOP_KEYS = frozenset(Settings.model_fields) - {"config_path"}
_JSON_KEYS = frozenset({"agents", "transports", "allowlist", "alerts"})  # in the environment they are JSON


def config_path(given: str | os.PathLike[str] | None = None) -> Path:
    """`--config`, else `BUS_WATCH_CONFIG`, else `~/.sos/bus-watch.json`."""
    path = Path(given or os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{path} is in the home of somebody whom this machine does not know") from None


def load(path: str | os.PathLike[str] | None = None, *, user: int | None = None) -> Settings:
    """Read, merge and check the configuration; `user`: on whose behalf, by default this process's.

    Raises ConfigError, whose message has one line a problem; one is that somebody else could change the file, and so
    what is run.
    """
    where = config_path(path)
    data = read(where)
    if (reason := exposed(where, user)) is not None:
        raise ConfigError(f"{where} is not trusted: {reason}")
    return check(data, where)


def check(data: dict[str, Any], where: Path) -> Settings:
    """What a configuration file with this content means: `load` without the reading, for one that is yet to be written.

    Raises ConfigError, whose message has one line a problem.
    """
    environment = _environment()
    try:
        settings = Settings(**_put_together(data, where, environment), config_path=where)
        os.fsencode(settings.state_file)
    except ValidationError as error:
        raise ConfigError("\n".join(_problems(error, where, environment))) from None
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{where}: state_path has characters that this process's locale ({error.encoding}) cannot write: "
            "run it with LC_ALL=C.UTF-8"
        ) from None
    return settings


def read(where: Path) -> dict[str, Any]:
    """The JSON object in the file, unchecked; ConfigError where there is none."""
    try:
        raw = read_plain(where, LONGEST + 1)
        if len(raw) > LONGEST:
            raise ConfigError(f"{where} is larger than {LONGEST // 2**20} MiB: is it the configuration?")
        data = json.loads(raw)
    except FileNotFoundError:
        raise ConfigError(f"{where} does not exist; write one with: bus-watch install --agent NAME") from None
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise ConfigError(f"{where}: not valid JSON: nested too deeply, or a number of too many digits") from None
    if not isinstance(data, dict):
        raise ConfigError(f'{where} must hold one JSON object: {{"agent": ..., ...}}')
    return data


def _put_together(data: dict[str, Any], where: Path, environment: dict[str, Any]) -> dict[str, Any]:
    """Top-level agent keys (file, then environment) become defaults of each agent.

    Those of the whole pydantic-settings reads from the environment itself.
    """
    if unknown := [key for key in data if key not in _AGENT_KEYS | _TOP_KEYS]:
        lines = [f"{where}: {_unknown(key, _AGENT_KEYS | _TOP_KEYS)}" for key in unknown]
        raise ConfigError("\n".join(lines))
    defaults = {key: value for key, value in data.items() if key in _AGENT_KEYS}
    overrides = {key: value for key, value in environment.items() if key in _AGENT_KEYS}
    entries = data.get("agents", [{}])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{where}: agents must be a list of objects")
    top = {key: value for key, value in data.items() if key in _TOP_KEYS - {"agents"}}
    return top | {"agents": [defaults | entry | overrides for entry in entries]}


def _environment() -> dict[str, Any]:
    """`BUS_WATCH_<KEY>` for each key; an empty one counts as unset, and no other variable is read."""
    found: dict[str, Any] = {}
    for key in _AGENT_KEYS | _TOP_KEYS:
        variable = variable_of(key)
        raw = os.environ.get(variable, "")
        if not raw:
            continue
        if key in _JSON_KEYS:
            try:
                found[key] = json.loads(raw)
            except json.JSONDecodeError as error:
                raise ConfigError(f"environment: {variable} is not valid JSON: {error.msg}") from None
        else:
            found[key] = raw
    return found


def variable_of(key: str) -> str:
    """The environment variable that overrides a key."""
    return ENV_PREFIX + key.upper()


def _unknown(key: str, known: frozenset[str]) -> str:
    if key in TransportSettings.model_fields and key not in known and known >= _AGENT_KEYS:
        return f"unknown key {key!r} here: it belongs into a transport"
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _known_at(place: tuple[int | str, ...]) -> frozenset[str]:
    """The keys that there are at a place of the configuration."""
    if place[0] == "alerts":
        return frozenset((ChannelSettings if "channels" in place else AlertSettings).model_fields)
    return frozenset(TransportSettings.model_fields) if "transports" in place else _AGENT_KEYS


def _problems(error: ValidationError, where: Path, environment: dict[str, Any]) -> list[str]:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        place = [str(part) for part in item["loc"]]
        key = (place[2] if place[0] == "agents" and len(place) > 2 else place[0]) if place else ""
        source = f"environment: {variable_of(key)}" if key in environment else str(where)
        if key in environment:
            place = place[place.index(key) + 1 :]
        if item["type"] == "extra_forbidden":
            text = _unknown(place.pop(), _known_at(item["loc"]))
        elif item["type"] == "missing":
            text = f"{place.pop()!r} is missing"
        else:
            text = item["msg"].removeprefix("Value error, ")
        lines.append(f"{source}: {'.'.join(place)}: {text}" if place else f"{source}: {text}")
    return list(dict.fromkeys(lines))
