"""Writes the unit templates beside this file, with the code of `bus-watch install`: python ops/units.py [--check].

They are for packagers and for reading; `bus-watch install` writes them with the paths of its installation.
"""

import sys
from pathlib import Path

from worker.install import launchd, systemd
from worker.install.systemd import Unit, UnitProfile
from worker.settings import TransportSettings

HERE = Path(__file__).resolve().parent
VENV = Path("/opt/bus-watch")
CONFIG = Path("/var/lib/bus-watch/bus-watch.json")


def consumer(stop_seconds: int) -> tuple[str, ...]:
    """The worker of an installation in /opt."""
    return (str(VENV / "bin" / "huey_consumer"), "worker.app.huey", "-g", "TERM", "-t", str(stop_seconds))


def unit(user: str | None = None, profile: UnitProfile = "local") -> str:
    """A unit for the configuration in /var/lib, whose transports have the usual time-out."""
    stop = systemd.stop_seconds([TransportSettings.model_fields["timeout"].default])
    return systemd.render(
        Unit(
            agents="your agents",
            consumer=consumer(stop),
            reload=(str(VENV / "bin" / "bus-watch"), "reload"),
            stop_seconds=stop,
            config=CONFIG,
            writable=(CONFIG.parent,),
            path_variable="/usr/local/bin:/usr/bin:/bin",
            user=user,
            profile=profile,
        )
    )


def templates() -> dict[Path, str]:
    """Every template's path and content."""
    plist = launchd.render(
        "com.bus-watch.AGENT",
        consumer(launchd.STOP_SECONDS),
        Path("/Users/YOU/.sos/bus-watch.json"),
        Path("/Users/YOU/.sos"),
    )
    return {
        HERE / "systemd" / "user" / "bus-watch.service": unit(),
        HERE / "systemd" / "local" / "bus-watch.service": unit("bus-watch", "local"),
        HERE / "systemd" / "remote-only" / "bus-watch.service": unit("bus-watch", "remote-only"),
        HERE / "launchd" / "com.bus-watch.AGENT.plist": plist,
    }


def main() -> int:
    """Write them, or with --check say which are not up to date."""
    stale = [path for path, text in templates().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if "--check" in sys.argv[1:]:
            print(f"not up to date: {path.relative_to(HERE.parent)}; run: python ops/units.py")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(templates()[path])
    return int(bool(stale) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
