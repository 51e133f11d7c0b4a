"""The embedded bus is a service of its own: neither a worker's death nor its own takes the other along."""

import os
import plistlib
import subprocess
from pathlib import Path

import pytest

from worker.install import launchd, systemd


@pytest.mark.parametrize("user", [None, "daemon"])
def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path, user: str | None) -> None:
    program = tmp_path / "a b" / "bus-watch"
    program.parent.mkdir()
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    unit = tmp_path / "bus-watch-bus.service"
    unit.write_text(systemd.render_bus((str(program), "bus", "--port", "6380"), tmp_path, user))
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    manager = ("--user",) if user is None else ()
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *manager, "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    text = unit.read_text()
    assert "\nRestart=always\n" in text
    for tie in ("BindsTo=", "PartOf=", "Requires="):
        assert tie not in text
    assert ("\nUser=daemon\n" in text) == (user is not None)


def test_the_plist(tmp_path: Path) -> None:
    argv = ["/opt/a b/bus-watch", "bus", "--port", "6380"]
    plist = plistlib.loads(launchd.render_bus(argv, tmp_path).encode())
    assert (plist["ProgramArguments"], plist["KeepAlive"], plist["RunAtLoad"]) == (argv, True, True)
    assert plist["Label"] == launchd.BUS_LABEL
