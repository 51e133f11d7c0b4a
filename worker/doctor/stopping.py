"""The check of `doctor` on installed units: whether a stopped worker waits for the longest transport."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from worker.doctor.finding import Finding
from worker.install import installation, systemd
from worker.settings import Settings

_WAITS = re.compile(r"^ExecStart=.*worker\.app\.huey.* -t (\d+(?:\.\d+)?)\b", re.MULTILINE)


def check(settings: Settings) -> Iterator[Finding]:
    """What would be started again after a log-out or reboot, because the worker did not wait for its end."""
    timeouts = {f"{agent.agent} {one.name}": one.timeout for agent in settings.agents for one in agent.transports}
    if not timeouts:
        return
    name, longest = max(timeouts.items(), key=lambda item: item[1])
    wanted = systemd.stop_seconds([longest])
    for unit in _units(settings.config_path):
        try:
            waits = _WAITS.search(unit.read_text("utf-8", "replace"))
        except OSError:
            continue
        if waits is None or float(waits[1]) > longest:
            continue
        advice = (
            "write it anew: bus-watch install --systemd --force"
            if float(waits[1]) < wanted
            else f"units wait {systemd.LONGEST_STOP_SECONDS} s at most"
        )
        yield Finding(
            "note",
            "unit",
            f"{unit} waits {waits[1]} s for what runs, {name} may take {longest:g} s: cut off by a log-out or reboot, "
            f"it would be started again; {advice}",
        )


def _units(config: Path) -> list[Path]:
    """Where `install --systemd` puts the unit of this configuration."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    name = f"{installation.instance(config)}.service"
    return [home / "systemd" / "user" / name, Path("/etc/systemd/system") / name]
