"""ssh as people have configured it: what their configuration says of their own logins does not matter."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.fakes.terminals import Sshd
from tests.world.waiting import until
from worker.terminal.runner import HostError, SshRunner, ssh_argv


def configured(sshd: Sshd, folder: Path, *lines: str) -> str:
    """A configuration with these lines for `far` beside the usual ones."""
    path = folder / "config"
    path.write_text(sshd.config.read_text() + "".join(f" {one}\n" for one in lines))
    return str(path)


@pytest.mark.parametrize(
    "line",
    [
        "RemoteCommand echo hello",
        "SessionType none",
        "SessionType subsystem",
        "StdinNull yes",
        "ForkAfterAuthentication yes",
        "RequestTTY force",
        "LocalForward 127.0.0.1:1 127.0.0.1:1",
        "RemoteForward 1 127.0.0.1:1",
        "DynamicForward 127.0.0.1:1",
        "PermitLocalCommand yes\n LocalCommand echo hello; false",
        "ControlMaster yes\n ControlPath {folder}/socket\n ControlPersist 5",
        "ForwardX11 yes\n ForwardAgent yes\n ExitOnForwardFailure yes",
        "SetEnv LC_ALL=nonsense\n LogLevel DEBUG3",
        "BatchMode no\n ConnectionAttempts 9\n VisualHostKey yes\n EscapeChar none",
        "Tunnel yes",
    ],
)
def test_the_users_configuration_does_not_matter(sshd: Sshd, tmp_path: Path, line: str) -> None:
    runner = SshRunner("far", config=configured(sshd, tmp_path, line.format(folder=tmp_path)), timeout=20)
    try:
        assert runner.run(["cat"], b"text\n").output == b"text\n"
        assert runner.run(["echo", "hello"]).text == "hello\n"
    finally:
        runner.close()
    assert not (tmp_path / "socket").exists()


def test_a_stopped_master_costs_a_second(sshd: Sshd, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    config = configured(sshd, tmp_path, f"ControlPath {socket}")
    master = subprocess.Popen(["ssh", "-F", config, "-o", "ControlMaster=yes", "-N", "far"])
    try:
        until(socket.exists, "the master's socket")
        began = time.monotonic()
        SshRunner("far", config=config, timeout=20).close()
        through_it = time.monotonic() - began
        assert len(sshd.connections()) == 1
        master.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        runner = SshRunner("far", config=config, timeout=20)
        waited = time.monotonic() - began
        assert runner.run(["echo", "hello"]).text == "hello\n"
        runner.close()
        assert 1.0 <= waited < 5.0 + through_it, waited
    finally:
        master.kill()
        master.wait()


def test_an_ssh_that_does_not_know_the_newest_options(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSH before 8.7 ends with a sentence about the first of them."""
    real = subprocess.run(["which", "ssh"], capture_output=True, text=True, check=True).stdout.strip()
    old = tmp_path / "ssh"
    complaint = "command-line: line 0: Bad configuration option: sessiontype"
    refusing = f"case \"$*\" in *SessionType*) echo '{complaint}' >&2; exit 255;; esac"
    old.write_text(f'#!/bin/sh\n{refusing}\nexec {real} "$@"\n')
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    runner = SshRunner("far", config=str(sshd.config), timeout=20)
    assert runner.run(["echo", "hello"]).text == "hello\n"
    runner.close()


def test_a_host_that_never_answers(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host far\n ProxyCommand sleep 60\n ControlPath {tmp_path}/s\n")
    began = time.monotonic()
    with pytest.raises(HostError, match="in time"):
        SshRunner("far", config=str(config), timeout=2)
    assert time.monotonic() - began < 6


@pytest.mark.parametrize("host", ["[::1]", "me@[2001:db8::7]"])
def test_an_address_in_brackets(host: str) -> None:
    argv = ssh_argv(host, "word")
    said = subprocess.run(
        [argv[0], "-G", "-F", "none", *argv[1:]], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    ).stdout
    assert f"\nhostname {host.partition('[')[2].rstrip(']')}\n" in said
