"""Entries of every kind that other writers have put on a bus: none stops the inbox, none is lost in silence."""

from collections.abc import Callable

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import GENERATIONS, Generation
from tests.world.waiting import until
from tests.world.world import World

LONG = "x" * 400_000
# What is put on the bus, and what an agent must be handed for it.
TEXTS = {
    "null": (None, ""),
    "number": (12.5, "12.5"),
    "dict": ({"a": [1, "é"]}, '{"a":[1,"é"]}'),
    "NUL": ("a\0b", "a\0b"),
    "surrogate": ("half \ud83d a pair", "half \ufffd a pair"),
    "long": (LONG, LONG),
    "escape": ("\x1b[2J$(touch pwned)`id`; rm -rf ~", "\x1b[2J$(touch pwned)`id`; rm -rf ~"),
    "empty": ("", ""),
}
UNPASSABLE = {"NUL": "NUL", "long": "longer"}  # as an argument; and the word of the reason that says so


def test_whatever_is_on_the_bus_the_rest_is_delivered(
    world: World, bridge_of: Callable[[Generation], FakeBridge]
) -> None:
    """By argument, which cannot carry everything, and by file, which can; on each generation at once."""
    bridges = {generation: bridge_of(generation) for generation in GENERATIONS}
    ids: dict[str, dict[str, str]] = {}
    agents = []
    for generation, bridge in bridges.items():
        name = f"agent-{generation.lower()}"
        folder = world.home / f"{generation}-files"
        folder.mkdir()
        keep = f'cp "$1" "{folder}/$SOS_MESSAGE_STREAM_ID"'
        agents.append(
            world.agent(
                bridge,
                name,
                world.transport(f"{generation}-argument", command=["{stream_id} {text}"]),
                world.transport(f"{generation}-file", before=keep, command=["{message_file}"]),
            )
        )
        add = bridge.streams.add
        ids[generation] = {"before": "{}-{}".format(*add(name, "before"))}
        add(name, "", raw="poison")
        add(name, "", raw={"source": "agent:alice", "text": "no id"})
        add(name, "", raw=["a", "list"])
        for kind, (text, _) in TEXTS.items():
            ids[generation][kind] = "{}-{}".format(*add(name, text, source=None if kind == "null" else "?"))
        ids[generation]["after"] = "{}-{}".format(*add(name, "after"))
    world.configure(*agents)

    with world.consumer() as consumer:
        until(
            lambda: world.json("status").get("backlog") == 0 and len(world.seen("C-file")) == 10, "everything settled"
        )
        assert consumer.stop() == 0

    wanted = TEXTS | {"before": ("before", "before"), "after": ("after", "after")}
    for which, found in ids.items():
        for kind, message in found.items():
            handed = (world.home / f"{which}-files" / message).read_bytes().decode()
            assert handed == wanted[kind][1], (which, kind)
        in_order = [message for kind, message in found.items() if kind not in UNPASSABLE]
        assert [line.split()[0] for line in world.seen(f"{which}-argument")] == in_order
        for kind, reason in UNPASSABLE.items():
            story = world.json("show", f"agent-{which.lower()}/{found[kind]}")
            states = {d["transport"].partition("-")[2]: (d["state"], d["words"]) for d in story["deliveries"]}
            assert states["file"][0] == "succeeded"
            assert states["argument"][0] == "dead"
            assert reason in states["argument"][1], states["argument"][1]
    dead = world.bus_watch("queue")
    assert dead.stdout.count(" dead ") >= 6
    assert not (world.home / "pwned").exists()
    assert all(agent["malformed"] == 3 for agent in world.json("status")["agents"])
