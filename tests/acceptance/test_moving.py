"""What the pages promise: a ledger moves to another machine, and comes back from a backup, and nothing is repeated."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.fakes.bridges import FakeBridge
from tests.fakes.streams import Generation
from tests.world.world import World

BridgeOf = Callable[[Generation], FakeBridge]
WorldOf = Callable[[Path], World]
PAGES = Path(__file__).resolve().parents[2] / "docs"


def page(name: str) -> str:
    return (PAGES / name).read_text("utf-8")


def test_moving_to_another_machine(tmp_path: Path, world_of: WorldOf, bridge_of: BridgeOf) -> None:
    """docs/moving-to-another-machine.md: two homes stand for two machines; only what the page names goes along."""
    bridge = bridge_of("C")
    old = world_of(tmp_path / "old")
    old.configure(old.agent(bridge, "bob", old.transport("wake", before="[ ! -e gone ] || exit 69")))
    bridge.streams.add("bob", "delivered before")
    assert old.bus_watch("run", "--once").returncode == 0
    (old.home / "gone").touch()
    bridge.streams.add("bob", "waits when it moves")
    old.bus_watch("run", "--once")
    assert old.bus_watch("pause", "wake").returncode == 0
    assert old.bus_watch("ledger", "backup", str(tmp_path / "ledger.db")).returncode == 0

    new = world_of(tmp_path / "new")
    assert re.search(r'sed -i "s#/home/OLD/#\$HOME/#g" ~/\.sos/bus-watch\.json', page("moving-to-another-machine.md"))
    new.write_config(old.config.read_text().replace(str(old.home), str(new.home)))
    new.write_private(new.config.with_name("token"), old.token_file.read_text())
    new.ledger.write_bytes((tmp_path / "ledger.db").read_bytes())
    new.ledger.chmod(0o600)
    new.transport("wake")
    doctor = new.bus_watch("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert new.bus_watch("ledger", "check").returncode == 0
    assert new.json("queue")["deliveries"][0]["words"].startswith("paused")
    assert new.bus_watch("run", "--once").stdout == "delivered 0 message(s)\n"

    assert new.bus_watch("resume", "wake").returncode == 0
    bridge.streams.add("bob", "came after")
    assert new.bus_watch("retry", new.json("queue")["deliveries"][0]["key"]).returncode == 0
    assert new.bus_watch("run", "--once").stdout == "delivered 2 message(s)\n"
    assert old.seen("wake") == ["delivered before"]
    assert new.seen("wake") == ["waits when it moves", "came after"]


def test_a_configuration_that_was_copied_as_it_is_is_refused(
    tmp_path: Path, world_of: WorldOf, bridge_of: BridgeOf
) -> None:
    """And `install --force` keeps the old machine's state_path, as the page says."""
    old = world_of(tmp_path / "old")
    old.configure(old.agent(bridge_of("C"), "bob"))
    new = world_of(tmp_path / "new")
    new.write_config(old.config.read_text())
    old.home.rename(tmp_path / "elsewhere")
    refused = new.bus_watch("doctor", "--offline")
    assert refused.returncode == 1
    assert f"FAIL transport bob-wake of bob: command '{old.home}/bob-wake.sh' is not a file" in refused.stdout
    assert "**but `state_path`**" in page("moving-to-another-machine.md")
    arguments = ["--agent", "bob", "--token-file", str(new.token_file), "--tmux", "codex", "--force"]
    assert new.bus_watch("install", *arguments).returncode == 0
    assert f'"state_path": "{old.home}/.sos/state.json"' in new.config.read_text()


def test_backup_and_restore(world: World, bridge_of: BridgeOf) -> None:
    """docs/backup-and-restore.md: what came after the backup is fetched again, and a person drops what was done."""
    bridge = bridge_of("C")
    world.configure(world.agent(bridge, "bob", world.transport("wake")))
    bridge.streams.add("bob", "before the backup")
    assert world.bus_watch("run", "--once").stdout == "delivered 1 message(s)\n"
    backup = world.home / "backup.db"
    assert world.bus_watch("ledger", "backup", str(backup)).returncode == 0
    assert world.bus_watch("ledger", "backup", str(backup)).returncode == 1
    assert backup.stat().st_mode & 0o777 == 0o600
    bridge.streams.add("bob", "delivered after the backup")
    assert world.bus_watch("run", "--once").stdout == "delivered 1 message(s)\n"
    bridge.streams.add("bob", "not delivered yet")

    world.ledger.write_bytes(b"\xa5" * world.ledger.stat().st_size)
    assert world.bus_watch("ledger", "check").returncode == 1
    assert "mv bus-watch-state.db* bus-watch-state-queue.db* damaged/" in page("backup-and-restore.md")
    for path in world.ledger.parent.glob("state*.db*"):
        path.unlink()
    world.ledger.write_bytes(backup.read_bytes())
    world.ledger.chmod(0o600)
    assert world.bus_watch("ledger", "check").returncode == 0

    assert world.bus_watch("pause", "wake").returncode == 0
    assert world.bus_watch("run", "--once").stdout == "delivered 0 message(s)\n"
    fetched_again, still_to_come = [one["key"] for one in world.json("queue")["deliveries"]]
    assert "delivered after the backup" in world.bus_watch("show", fetched_again).stdout
    assert world.bus_watch("drop", fetched_again).returncode == 0
    assert world.bus_watch("resume", "wake").returncode == 0
    assert world.bus_watch("run", "--once").stdout == "delivered 1 message(s)\n"
    assert world.json("show", still_to_come)["state"] == "delivered"
    assert world.seen("wake") == ["before the backup", "delivered after the backup", "not delivered yet"]
