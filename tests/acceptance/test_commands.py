"""`bus-watch` as a process: help, usage errors, closed pipes, full disks, odd locales; never a traceback."""

import os
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.config import TOKEN
from tests.world.processes import program
from tests.world.world import World
from worker.cli.main import COMMANDS

# Each command in a process that has imported nothing of ours but what finds commands; what takes long is there already.
EACH_HELP = """
import os, sys
import httpx, pydantic
from worker.cli.main import main

for command in sys.argv[1:]:
    print("== " + command, flush=True)
    if not (child := os.fork()):
        sys.exit(main([command, "--help"]))
    print("== exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_help_names_every_command(world: World) -> None:
    short = world.bus_watch("--help").stdout
    assert [command for command in COMMANDS if f"  {command} " not in short] == []


@pytest.mark.parametrize("commands", [list(COMMANDS)[at::5] for at in range(5)], ids=", ".join)
def test_every_command_has_help_with_an_example(world: World, programs: Path, commands: list[str]) -> None:
    argv = [program("python", programs), "-P", "-c", EACH_HELP, *commands]
    done = subprocess.run(argv, env=world.env, cwd=world.home, text=True, capture_output=True, timeout=100, check=True)
    assert "Traceback" not in done.stderr
    _, *parts = re.split("^== ", done.stdout, flags=re.MULTILINE)
    said, ends = parts[::2], parts[1::2]
    assert len(said) == len(ends) == len(commands)
    for command, words, end in zip(commands, said, ends, strict=True):
        assert end == "exit 0\n", command
        assert words.startswith(f"{command}\nusage: bus-watch {command}")
        assert f"  bus-watch {command}" in words.partition("examples:")[2], command


def test_both_names_are_installed(world: World) -> None:
    names = {entry.name for entry in distribution("bus-watch").entry_points if entry.group == "console_scripts"}
    assert names == {
        "bus-watch",
        "mumega-bus-watch",
        "agent-send",
        "agent-send.sh",
        "send-message",
        "send-message.sh",
        "wake",
    }
    said = [
        subprocess.run([program(name), "--version"], env=world.env, text=True, capture_output=True, check=True)
        for name in ("bus-watch", "mumega-bus-watch")
    ]
    assert said[0].stdout == said[1].stdout
    assert said[0].stdout.startswith("bus-watch ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["queue", "-n", "many"],
        ["run", "-w", "0"],
    ],
)
def test_usage_errors_exit_64(
    world: World, bridge_of: Callable[[Generation], FakeBridge], arguments: list[str]
) -> None:
    world.configure(world.agent(bridge_of("C"), "bob"))
    done = world.bus_watch(*arguments)
    assert done.returncode == 64
    assert done.stdout == ""
    assert done.stderr


def test_output_that_cannot_be_written(world: World, bridge_of: Callable[[Generation], FakeBridge]) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob"))
    bridge.streams.add("bob", "hello")
    assert world.bus_watch("run", "--once").returncode == 0

    for arguments in (["status"], ["history", "--json"], ["queue"], ["--help"]):
        argv = [program("bus-watch"), *arguments]
        reader, writer = os.pipe()
        os.close(reader)  # `bus-watch history | head`, after head has gone
        gone = subprocess.run(argv, env=world.env, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writer)
        assert gone.stderr == b"", arguments
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(argv, env=world.env, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
        assert b"Traceback" not in done.stderr
        assert b"No space left on device" in done.stderr, arguments
        assert done.returncode == 1, arguments


def test_streams_that_are_closed(world: World, bridge_of: Callable[[Generation], FakeBridge]) -> None:
    """They lead nowhere, and no file that is opened later takes their place."""
    world.configure(world.agent(bridge_of("C"), "bob"))
    for closed, arguments, status in (
        (">&-", "status", 2),
        ("2>&-", "queue --nonsense", 64),
        ("<&-", "install --agent x --token-stdin", 1),
        (">&- 2>&- <&-", "run --once", 0),
    ):
        line = f"exec {program('bus-watch')} {arguments} {closed}"
        done = subprocess.run(["sh", "-c", line], env=world.env, capture_output=True, timeout=60, check=False)
        assert b"Traceback" not in done.stderr, closed
        assert done.returncode == status, (closed, done)


def test_texts_of_any_language_on_a_terminal_of_ascii(
    world: World, bridge_of: Callable[[Generation], FakeBridge]
) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob"))
    message = "{}-{}".format(*bridge.streams.add("bob", "héllo wörld \u4f60\u597d", source="agent:żółw"))
    assert world.bus_watch("run", "--once").returncode == 0
    for arguments in (["show", message], ["show", message, "--json"], ["history"], ["history", "--json"]):
        done = world.bus_watch(*arguments, env={"PYTHONIOENCODING": "ascii", "LANG": "C"})
        assert done.returncode == 0, done.stderr


def test_test_send_comes_back(world: World, bridge_of: Callable[[Generation], FakeBridge]) -> None:
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob"))
    sent = world.bus_watch("test-send", "--text", "are you there?")
    assert sent.returncode == 0
    assert sent.stdout.startswith("sent ")
    told = world.json("test-send", "--to", "carol")
    assert set(told) == {"to", "stream", "id"}
    assert told["stream"] == "sos:stream:global:agent:carol"
    once = world.bus_watch("run", "--once")
    assert once.stdout == "delivered 1 message(s)\n"
    assert world.seen("bob-wake") == ["are you there?"]
    assert world.bus_watch("test-send", "--agent", "nobody").returncode == 64
    bridge.fault("close", path="/send")
    failed = world.bus_watch("test-send")
    assert failed.returncode == 1
    assert "closed the connection" in failed.stderr
    assert TOKEN not in failed.stderr


def test_run_once_says_what_it_could_not_do(world: World, bridge_of: Callable[[Generation], FakeBridge]) -> None:
    bridge = bridge_of("C")
    dies = world.transport("dies", before='echo "no such pane" >&2; exit 65')
    waits = world.transport("waits", before="exit 75")
    world.configure(world.agent(bridge, "bob", dies, waits))
    bridge.streams.add("bob", "hello")
    done = world.bus_watch("run", "--once")
    assert (done.returncode, done.stdout) == (1, "delivered 0 message(s)\n")
    assert "dead: exit 65: no such pane" in done.stderr
    assert "not yet: " in done.stderr
    bridge.fault("unauthorized")
    told = world.bus_watch("run", "--once", "--json")
    assert told.returncode == 1
    assert '"delivered": 0' in told.stdout
    assert "bob: " in told.stderr
