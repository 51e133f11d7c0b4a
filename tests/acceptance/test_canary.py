"""The canary: tokens go through everything that this program does, and afterwards lie in no byte but their own files.

The search knows nothing of how redaction works: it computes for itself what a token looks like in other clothes.
"""

import base64
import contextlib
import json
import signal
import socket
import subprocess
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bridges import FakeBridge
from tests.fakes.push import FakePush
from tests.fakes.sentry import FakeSentry
from tests.world.config import QUICK
from tests.world.processes import HERE
from tests.world.waiting import until
from tests.world.world import World

PIECE = 12  # characters of a token that are too many to see
SOURCES = ("file", "variable", "config", "wrong", "redirected", "unreachable")
TOLD = (
    "topic",
    "ntfy-token",
    "hook-path",
    "hook-token",
    "nobody",
    "apprise",
    "ping",
)  # the secrets of who tells people


def canary(name: str) -> str:
    """A token with characters that every encoding changes; no piece of it is a path with its name."""
    return f'cAn4ry+/{name[::-1]}="\\%&{name}~9=='


def clothes(token: str) -> dict[str, bytes]:
    """What to look for: the token as it is and encoded, whatever stands before and after it."""
    raw = token.encode()
    found = {
        "plain": raw,
        "json": json.dumps(token)[1:-1].encode(),
        "url": urllib.parse.quote(token, safe="").encode(),
        "url, slashes kept": urllib.parse.quote(token).encode(),
        "utf-16": token.encode("utf-16-le"),
        "hex": raw.hex().encode(),
    }
    for before in range(3):
        whole = base64.b64encode(b"\xff" * before + raw)
        middle = whole[4 if before else 0 : -4]
        found[f"base64 after {before}"] = middle
        found[f"urlsafe base64 after {before}"] = middle.replace(b"+", b"-").replace(b"/", b"_")
    for start in range(len(raw) - PIECE + 1):
        found[f"piece at {start}"] = raw[start : start + PIECE]
    return found


def search(where: bytes, tokens: Iterable[str]) -> list[str]:
    """Every form of every token that is in there, across line ends too."""
    joined = where.replace(b"\r", b"").replace(b"\n", b"").replace(b"\\n", b"")
    return [
        f"{token}: {form}"
        for token in tokens
        for form, look in clothes(token).items()
        if look in where or look in joined
    ]


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}


def processes_with(tokens: Iterable[str]) -> set[int]:
    """The processes of this machine whose argv or environment holds one of the tokens."""
    found = set()
    if Path("/proc/self/environ").exists():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    told = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
                except OSError:
                    continue
                if search(told, tokens):
                    found.add(int(entry.name))
        return found
    listed = subprocess.run(["/bin/ps", "axeww", "-o", "pid=,command="], capture_output=True, check=True).stdout
    return {int(line.split()[0]) for line in listed.splitlines() if search(line, tokens)}


@pytest.mark.parametrize("form", clothes("x" * 12))
def test_the_search_finds_every_form(form: str) -> None:
    token = canary("file")
    assert search(b"\0before " + clothes(token)[form] + b" after", [token])
    assert search(base64.b64encode(b"ab" + token.encode() + b"c"), [token])
    assert not search(b"something else", [token])


@pytest.fixture(scope="session")
def programs() -> Path:
    """The source's, since what the wheel's environment lacks is needed for metrics."""
    return HERE


@pytest.fixture
def tokens() -> dict[str, str]:
    return (
        {source: canary(source) for source in SOURCES}
        | {name: canary(name) if name.endswith("-token") else f"cAn4ryOf{name}{name[::-1]}x7Q9zT" for name in TOLD}
        | {"ping": "c0ffee42-91d7-4e38-a5b6-7f2d8e31c964"}
    )


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Receivers:
    """Who tells people: each refuses at first, and what refuses may be logged."""

    def __init__(self, tokens: dict[str, str]) -> None:
        self.ntfy, self.hook = FakePush(tokens["ntfy-token"]), FakePush(tokens["hook-token"])
        self.apprise, self.ping = FakePush(), FakePush()
        self.all = (self.ntfy, self.hook, self.apprise, self.ping)
        for push in self.all:
            push.status = 503

    def channels(self, world: World, tokens: dict[str, str]) -> dict[str, Any]:
        """The key `alerts` of the configuration; its files are written."""

        def told(name: str, text: str) -> str:
            path = world.config.with_name(f"{name}.secret")
            world.write_private(path, text + "\n")
            return str(path)

        tokened = {"token_file": told("hook-token", tokens["hook-token"])}
        channels = [
            {
                "name": "phone", "type": "ntfy", "include_text": True,
                "url_file": told("topic", f"{self.ntfy.url}/{tokens['topic']}"),
                "token_file": told("ntfy-token", tokens["ntfy-token"]),
            },
            {
                "name": "hook", "type": "webhook", **tokened,
                "url_file": told("hook-path", f"{self.hook.url}/hook/{tokens['hook-path']}"),
            },
            {
                "name": "nobody", "type": "webhook", **tokened,
                "url_file": told("nobody", f"http://127.0.0.1:{closed_port()}/{tokens['nobody']}"),
            },
            {
                "name": "mail", "type": "apprise",
                "url_file": told("apprise", f"ntfy://{self.apprise.url.removeprefix('http://')}/{tokens['apprise']}"),
            },
        ]  # fmt: skip
        ping = told("ping", f"{self.ping.url}/ping/{tokens['ping']}")
        return {"channels": channels, "heartbeat_url_file": ping, "heartbeat_every": 5}


def prepare(
    world: World,
    bridge: FakeBridge,
    other: FakeBridge,
    sentry: FakeSentry,
    receivers: Receivers,
    tokens: dict[str, str],
) -> set[Path]:
    """Write the configuration and the token files; returns the files that may hold a token."""
    world.config.parent.mkdir(mode=0o700)
    own = {world.config}
    for source in set(SOURCES) - {"variable", "config"}:
        path = world.config.parent / f"{source}.token"
        path.write_text(tokens[source] + "\n")
        path.chmod(0o600)
        own.add(path)
    told = world.config.parent / "file.token"
    # A transport that shows all it was given, and one that has the token from somewhere else and cannot keep it quiet.
    shows = world.script("shows", 'env; echo "$0 $*"; cat; exit 1')
    waits = f"touch {world.home}/started; while ! test -e {world.home}/go; do sleep 0.05; done; T=$(cat {told})"
    tells = world.script(
        "tells",
        f'{waits}; echo "plain $T"; echo "Authorization: Bearer $T"; printf "user:%s" "$T" | base64;'
        ' printf %s "$T" | base64 -w 20; printf "xy%s" "$T" | base64 -w0 | tr +/ -_; echo; echo "http://u:$T@host/";'
        ' echo "failed with $T" >&2; exit 1',
    )
    floods = world.script("floods", f'{waits}; yes "$T" | head -c 6000; exit 1')
    transports = [
        {"name": "shows", "command": [shows, "{text}", "{agent}"], "stdin": True, "max_attempts": 1},
        {"name": "tells", "command": [tells], "max_attempts": 2, "retry_delay": 0.1},
        {"name": "floods", "command": [floods], "max_attempts": 1},
    ]
    places = {
        "file": {"token_file": str(told), "bridge_url": bridge.url},
        "variable": {"token_env": "CANARY", "bridge_url": bridge.url},
        "config": {"token": tokens["config"], "bridge_url": bridge.url},
        "wrong": {"token_file": "~/.sos/wrong.token", "bridge_url": bridge.url},
        "redirected": {"token_file": "~/.sos/redirected.token", "bridge_url": other.url},
        "unreachable": {
            "token_file": "~/.sos/unreachable.token",
            "bridge_url": f"http://127.0.0.1:{closed_port()}",
        },
    }
    agents: list[dict[str, Any]] = [
        {"agent": name, "announce": True, "transports": transports} | place for name, place in places.items()
    ]
    world.configure(
        *agents,
        **QUICK,
        log_file=str(world.home / "worker.log"),
        metrics_file=str(world.home / "metrics.prom"),
        sentry_dsn=sentry.dsn,
        alerts=receivers.channels(world, tokens),
    )
    own |= set(world.config.parent.glob("*.secret"))
    world.env["CANARY"] = tokens["variable"]
    for source in ("file", "variable", "config"):
        bridge.add_token(source, token=tokens[source])
    other.add_token("redirected", token=tokens["redirected"])
    other.fault("redirect", value=f"{bridge.url}/inbox")
    return own


@pytest.mark.timeout(300)  # some forty commands
def test_the_canary_is_in_no_byte_but_its_own(
    world_of: Callable[[Path], World], tmp_path: Path, tokens: dict[str, str]
) -> None:
    world = world_of(tmp_path / "home")
    printed: list[str] = []

    def command(*argv: str) -> str:
        done = world.bus_watch(*argv)
        printed.append(done.stdout + done.stderr)
        return done.stdout

    with contextlib.ExitStack() as stack:
        bridge, other = (stack.enter_context(FakeBridge("B")) for _ in range(2))
        sentry = stack.enter_context(FakeSentry())
        receivers = Receivers(tokens)
        for push in receivers.all:
            stack.enter_context(push)
        own = prepare(world, bridge, other, sentry, receivers, tokens)
        names = ("file", "variable", "config")
        for name in names:
            bridge.streams.add(name, "an ordinary message")
        worker = world.start_consumer("-v", "-g", "TERM")
        until((world.home / "started").exists, "a transport runs")
        holders = processes_with(tokens.values())
        (world.home / "go").touch()
        dead = "select id from deliveries where state = 'dead'"
        until(lambda: len(world.rows(dead)) == 3 * len(names), "all has failed", 60)
        until(lambda: "unreachable: " in (world.home / "worker.log").read_text(), "the bus errors are logged")
        sentry.wait_for(len(names))
        until((world.home / "metrics.prom").exists, "metrics are written")
        for push in receivers.all:  # what was refused is logged, and told again
            push.wait_begun(1)
        until(lambda: "heartbeat does not get through" in (world.home / "worker.log").read_text(), "it is logged")
        for push in receivers.all:
            push.status = 0
        taken = [push.wait_for(1)[0] for push in receivers.all]
        worker.stop(signal.SIGKILL)  # leaves the write-ahead logs where they are
        printed.append(worker.log())

        # The same through the commands; and what a person may mistype.
        command("run", "--once", "-v", "--log-format", "json")
        shown = ""
        for name in names:
            key = json.loads(command("history", "--json", "--agent", name))[0]["key"]
            shown += command("show", key) + command("show", key, "--json")
        told = json.loads(command("history", "--json", "--agent", "@alerts"))
        command("show", told[0]["key"], "--json")
        for argv in (
            ("status",),
            ("status", "--json"),
            ("queue",),
            ("queue", "--json"),
            ("history",),
            ("alerts",),
            ("alerts", "--test"),
            ("doctor",),
            ("status", "--tmux"),
            ("retry", "--dead"),
        ):
            command(*argv)
        for agent in SOURCES:
            command("test-send", "--agent", agent)
        world.env["BUS_WATCH_BRIDGE_URL"] = f"http://user:{tokens['variable']}@127.0.0.1/"
        for argv in (("status",), ("run", "--once"), ("status", "--json")):
            command(*argv)
        del world.env["BUS_WATCH_BRIDGE_URL"]

    # It is the real thing: the transports did print, and the tokens did go to the bus.
    assert "SOS_MESSAGE_TEXT=an ordinary message" in shown
    assert "failed with ***" in shown
    assert "plain ***" in shown
    assert {r.authorization for r in bridge.requests} >= {f"Bearer {tokens[name]}" for name in names}
    ntfy, hook, apprise, ping = taken
    assert (ntfy.json["topic"], ntfy.headers["Authorization"]) == (tokens["topic"], f"Bearer {tokens['ntfy-token']}")
    assert (hook.path, hook.headers["Authorization"]) == (
        f"/hook/{tokens['hook-path']}",
        f"Bearer {tokens['hook-token']}",
    )
    assert apprise.json["topic"] == tokens["apprise"]
    assert ping.path == f"/ping/{tokens['ping']}"
    assert (
        search(b"\0".join(one.body for one in taken), set(tokens.values()) - {tokens["topic"], tokens["apprise"]}) == []
    )

    assert holders == {worker.pid}, "only the worker may have one in its environment"
    written = files(world.home)
    assert any(path.name.endswith("-wal") and data for path, data in written.items())
    assert all(search(written[path], tokens.values()) for path in own)
    leaks = {
        str(path.relative_to(world.home)): found
        for path, data in written.items()
        if path not in own and (found := search(data, tokens.values()))
    }
    assert leaks == {}
    assert search(b"\0".join(sentry.raw), tokens.values()) == []
    assert len(sentry.raw) >= len(names)
    assert search("\0".join(printed).encode(), tokens.values()) == []
    assert [r for r in bridge.requests if tokens["redirected"] in (r.authorization or "")] == []
    assert (world.home / "worker.log").stat().st_mode & 0o077 == 0


def test_a_token_from_standard_input_is_in_the_file_that_install_names(world: World, tmp_path: Path) -> None:
    token = canary("stdin")
    with FakeBridge("B") as bridge:
        bridge.add_token("bob", token=token)
        installed = world.bus_watch(
            "install", "--agent", "bob", "--bridge-url", bridge.url, "--token-stdin",
            "--transport", "wake=/bin/echo {text}", "--procfile", "--systemd", "--launchd",
            stdin=token + "\n",
        )  # fmt: skip
        assert installed.returncode == 0, installed.stderr
        bridge.streams.add("bob", "an ordinary message")
        outputs = [
            installed,
            world.bus_watch("doctor"),
            world.bus_watch("run", "--once"),
            world.bus_watch("status", "--json"),
        ]
    assert "delivered 1 message" in outputs[2].stdout
    holding = {path for path, data in files(tmp_path).items() if search(data, [token])}
    assert holding == {world.config.with_suffix(".token")}
    assert all(path.stat().st_mode & 0o077 == 0 for path in holding)
    assert not [found for done in outputs for found in search((done.stdout + done.stderr).encode(), [token])]
