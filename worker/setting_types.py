"""What one value of the configuration may look like: paths, names, and durations as people write them."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> object:
    """Seconds from `90`, `"90"`, `"15m"`, `"24h"` or `"5d"`; anything else is left for pydantic to refuse."""
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value)):
        return float(found[1]) * _UNITS[found[2] or "s"]
    return value


def _usable_path(value: str) -> str:
    """A path whose home directory exists and which names a file: what pathlib would raise is said when it is read."""
    try:
        Path(value).expanduser().with_suffix(".db")
    except RuntimeError:
        raise ValueError(f"{value!r} is in the home of somebody whom this machine does not know") from None
    except ValueError:
        raise ValueError(f"{value!r} names no file") from None
    if "\0" in value:
        raise ValueError("has a NUL in it")
    return value


def _variable_name(value: str) -> str:
    """Refused without a word of it: what stands there by mistake is most often the token."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("takes the name of an environment variable: letters, digits and _, and never the token itself")
    return value


ANYWHERE = "any"
"""In `run_on`: every host."""


def _hosts(value: object) -> object:
    """One name is a list of one."""
    return (value,) if isinstance(value, str) else value


def _in_order(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError('names no host; say "any", or leave it out for the host that has the agent')
    if ANYWHERE in value[:-1]:
        raise ValueError('"any" can only be the last of several: it stands for all hosts that are not named')
    if len(set(value)) < len(value):
        raise ValueError("names a host twice")
    return value


VariableName = Annotated[str, AfterValidator(_variable_name)]
FilePath = Annotated[str, AfterValidator(_usable_path)]
Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
RunOn = Annotated[tuple[Name, ...], BeforeValidator(_hosts), AfterValidator(_in_order)]
"""Host names in order of preference, perhaps with `any` behind them."""
AgentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")]
