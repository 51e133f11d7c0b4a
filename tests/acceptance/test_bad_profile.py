"""A typo in one agent's profile, through the whole worker: it waits, and says why; everybody else is woken."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.fakes.terminals import FAKES, private_terminal
from tests.world.config import QUICK
from tests.world.processes import program
from tests.world.waiting import until
from tests.world.world import World


def test_a_typo_holds_back_its_own_agent_alone(
    world: World, bridge_of: Callable[[Generation], FakeBridge], programs: Path
) -> None:
    bridge = bridge_of("C")
    with private_terminal() as terminal:
        copy = Path(shutil.copy(FAKES / "standin.py", terminal.home / "mal.py"))
        agents = {
            "ann": terminal.agent("ann"),
            "mal": terminal.agent("mal", program=copy),
            "bob": terminal.agent("bob"),
        }
        path = terminal.home / ".config/bus-watch/profiles/mal.toml"
        good = (FAKES / "standin.toml").read_text().replace("standin", "mal")
        path.write_text(good.replace("enter_busy", "enter_buzy"))

        def agent(name: str) -> dict[str, Any]:
            token = world.config.with_name(f"{name}.token")
            world.write_private(token, bridge.add_token(name))
            command = [program("send-message", programs), "--socket-path", terminal.socket, "-t", name, "-m", "{text}"]
            wake = {"name": "wake", "command": command, "env": {"HOME": str(terminal.home)}, "stuck_after": 1}
            return {"agent": name, "bridge_url": bridge.url, "token_file": str(token), "transports": [wake]}

        world.configure(*map(agent, agents), **QUICK)
        with world.consumer():
            for name in agents:
                bridge.streams.add(name, f"hello {name}")
            for name in ("ann", "bob"):
                until(lambda name=name: agents[name].submitted() == [f"hello {name}"], f"{name} was woken")  # type: ignore[misc]
            why = f"{path}:20: unknown key `enter_buzy` in [typing]; did you mean `enter_busy`?"
            until(lambda: why in world.bus_watch("queue", "--json").stdout, "the queue says which line")
            until(lambda: "mal wake: stuck" in " ".join(world.bus_watch("status").stdout.split()), "status says who")
            assert agents["mal"].submitted() == []
            path.write_text(good)
            until(lambda: agents["mal"].submitted() == ["hello mal"], "mal was woken once the file was mended")
            assert [agents[name].submitted() for name in agents] == [[f"hello {name}"] for name in agents]
