"""The worker does not run what every user of the machine could change; once that is mended, nothing is lost."""

from pathlib import Path

from tests.fakes.bridges import FakeBridge
from tests.world.config import QUICK
from tests.world.waiting import until
from tests.world.world import World


def test_a_message_waits_until_its_program_is_its_owners_alone(tmp_path: Path) -> None:
    with FakeBridge("C") as bridge, World(tmp_path / "home") as world:
        transport = world.transport("wake", retry_delay=0.2, retry_max_delay=0.5)
        world.configure(world.agent(bridge, "bob", transport, **QUICK))
        program = Path(transport["command"][0])
        program.chmod(0o757)
        doctor = world.bus_watch("doctor")
        assert doctor.returncode == 1
        assert f"chmod o-w {program}" in doctor.stdout
        bridge.streams.add("bob", "hello")
        with world.consumer():
            until(lambda: world.count("select count(*) from deliveries where state = 'retrying'") == 1, "it is refused")
            assert f"chmod o-w {program}" in world.bus_watch("queue").stdout
            assert world.seen("wake") == []
            program.chmod(0o755)
            until(lambda: world.seen("wake") == ["hello"], "it is run")


def test_the_worker_does_not_start_with_a_configuration_that_everybody_can_change(tmp_path: Path) -> None:
    with FakeBridge("C") as bridge, World(tmp_path / "home") as world:
        world.configure(world.agent(bridge, "bob", **QUICK))
        world.config.parent.chmod(0o777)
        consumer = world.start_consumer()
        assert consumer.wait(60) != 0
        assert f"chmod o-w {world.config.parent}" in consumer.log()
        assert "Traceback" not in consumer.log()
        world.config.parent.chmod(0o700)
        assert world.bus_watch("run", "--once").returncode == 0
