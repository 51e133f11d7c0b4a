"""The system unit's `local` profile drives its user's own tmux, although other users' processes are hidden from it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.world.processes import ROOT
from worker.install import systemd
from worker.install.systemd import Unit, UnitProfile

OWN_USERS = ("unshare", "--user", "--map-current-user")  # what PrivateUsers=yes does (systemd.exec(5))


def directives(profile: UnitProfile) -> dict[str, str]:
    here = Path("/var/lib/bus-watch")
    unit = Unit(
        agents="bob", consumer=("/bin/true",), config=here / "bus-watch.json", writable=(here,),
        path_variable="/usr/bin:/bin", user="bob", profile=profile,
    )  # fmt: skip
    return dict(line.split("=", 1) for line in systemd.render(unit).splitlines() if "=" in line and line[0] != "#")


def submitted_from(*confinement: str) -> Any:
    argv = [sys.executable, "-m", "tests.fakes.hidden_processes", *confinement]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_local_profile_types_into_a_pane() -> None:
    unit = directives("local")
    assert unit["ProtectProc"] == "invisible"
    told = submitted_from(*(OWN_USERS if unit["PrivateUsers"] == "yes" else ()))
    assert (told["status"], told["submitted"]) == (0, ["from inside"]), told["said"]


def test_users_of_its_own_would_hide_the_pane() -> None:
    assert directives("remote-only")["PrivateUsers"] == "yes", "it drives nothing here"
    told = submitted_from(*OWN_USERS)
    assert told["status"] != 0
    assert told["submitted"] == []
