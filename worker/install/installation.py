"""Where this installation is: the absolute paths that service files and transports name."""

import os
import re
import sys
import sysconfig
from pathlib import Path

from worker.install.errors import InstallError

APPLICATION = "worker.app.huey"


def script(*names: str) -> Path:
    """The console script of this installation that has one of these names, as an absolute path, links left as they are.

    An upgrade in place (pipx, a moved `current` link) keeps a link's name and changes its target.
    Raises InstallError where none is there.
    """
    folders = dict.fromkeys(
        [Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    )
    for folder in folders:
        for name in names:
            if os.access(folder / name, os.X_OK) and (folder / name).is_file():
                return folder / name
    raise InstallError(
        f"{names[0]} is not beside {sys.executable}: this installation is incomplete; "
        "install it again, with its dependencies: pip install, without --no-deps"
    )


def consumer(stop_seconds: float) -> list[str]:
    """The argv of the worker: SIGTERM is graceful, and waits this long for running transports."""
    return [str(script("huey_consumer", "huey_consumer.py")), APPLICATION, "-g", "TERM", "-t", f"{stop_seconds:g}"]


def instance(config: Path) -> str:
    """What tells services of several configurations apart: `bus-watch`, or `bus-watch-NAME` after the file's name."""
    if config.stem in {"bus-watch", "config"}:
        return "bus-watch"
    return "bus-watch-" + re.sub(r"[^A-Za-z0-9_.-]", "-", config.stem.removeprefix("bus-watch-"))
