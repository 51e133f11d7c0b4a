"""`bus-watch web` as a person starts it."""

import json
import signal
import urllib.error
import urllib.request

import pytest

from tests.unit.cli.conftest import Desk
from tests.world.world import World

AGENT = {"agent": "bob", "token_env": "NO_TOKEN", "transports": [{"name": "t", "command": ["/bin/true"]}]}


def test_it_serves_until_it_is_told_to_stop(world: World) -> None:
    world.configure(AGENT)
    served = world.start("bus-watch", "web", "--port", "0", "--json")
    told = json.loads(served.wait_for_line("listening"))
    with urllib.request.urlopen(told["link"], timeout=60) as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith(f"bus_watch_{told['listening'].rpartition(':')[2]}=")
    request = urllib.request.Request(f"{told['listening']}/events", headers={"Cookie": cookie})
    with urllib.request.urlopen(request, timeout=60) as stream:
        assert stream.readline() == b"event: board\n"
        board = json.loads(stream.readline().removeprefix(b"data: "))
        assert [one["name"] for one in board["agents"]] == ["bob"]
        assert "NOT RUNNING" in board["headline"]
        assert served.stop(signal.SIGTERM) == 0  # the stream that is open does not keep it
    assert "Traceback" not in served.log()


def test_a_browser_stays_let_in_through_a_kill_and_a_restart(world: World) -> None:
    """And a name behind which it stands is one, whatever its case."""
    world.configure(AGENT)
    served = world.start("bus-watch", "web", "--port", "0", "--json")
    told = json.loads(served.wait_for_line("listening"))
    with urllib.request.urlopen(told["link"], timeout=60) as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    served.stop(signal.SIGKILL)
    port = told["listening"].rpartition(":")[2]
    served = world.start("bus-watch", "web", "--port", port, "--json", "--allow-host", "Me.Example")
    served.wait_for_line("listening")
    for host in (f"127.0.0.1:{port}", "me.example", "ME.example:443"):
        request = urllib.request.Request(f"{told['listening']}/session", headers={"Cookie": cookie, "Host": host})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["csrf"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(told["link"], timeout=60)


def test_another_link_is_good_at_the_server_that_runs(world: World) -> None:
    world.configure(AGENT)
    served = world.start("bus-watch", "web", "--port", "0", "--json")
    port = json.loads(served.wait_for_line("listening"))["listening"].rpartition(":")[2]
    link = json.loads(world.bus_watch("web", "--link", "--port", port, "--json").stdout)["link"]
    with urllib.request.urlopen(link, timeout=60) as answer:
        assert answer.status == 200
    taken = world.bus_watch("web", "--port", port)
    assert taken.returncode == 64
    assert "cannot listen on 127.0.0.1" in taken.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org"])
def test_it_is_for_loopback_only(desk: Desk, host: str) -> None:
    said = desk.run("web", "--host", host, "--port", "0")
    assert said.status == 64
    assert "ssh -L" in said.err


def test_without_the_extra_it_says_how_to_get_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    said = desk.run("web")
    assert said.status == 69
    assert "bus-watch[ui]" in said.err
    assert said.out == ""
