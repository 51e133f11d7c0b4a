"""When an agent's doorbell is proven, so that polls may be rare; on a clock of its own."""

import pytest

from worker.bus.trust import GRACE_SECONDS, Trust


class Bell:
    """An agent with a doorbell and polls."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lives = True
        self.trust = Trust(lambda _: self.lives, lambda: self.now)
        self.poll()

    def ring(self) -> None:
        self.trust.rang("bob")

    def poll(self, *, brings: bool = False) -> None:
        self.now += 10
        self.trust.polled("bob", self.now, brought=brings)

    @property
    def proven(self) -> bool:
        return self.trust.is_proven("bob")


@pytest.fixture
def bell() -> Bell:
    return Bell()


def test_it_is_while_its_connection_lives(bell: Bell) -> None:
    assert bell.proven
    bell.lives = False
    assert not bell.proven


def test_what_rang_and_came_keeps_it_so(bell: Bell) -> None:
    for _ in range(3):
        bell.ring()
        bell.poll(brings=True)
        bell.poll()
        assert bell.proven


def test_a_message_that_did_not_ring_is_held_against_it_until_one_does(bell: Bell) -> None:
    bell.poll(brings=True)
    assert not bell.proven
    bell.now += GRACE_SECONDS + 1
    assert not bell.proven
    bell.poll()
    assert not bell.proven
    bell.ring()
    bell.poll(brings=True)
    assert bell.proven


def test_a_ring_may_come_a_little_after_its_message(bell: Bell) -> None:
    bell.poll(brings=True)
    bell.now += GRACE_SECONDS - 1
    bell.ring()
    assert bell.proven
    bell.now -= 9
    bell.poll()  # it was taken already: this ring brings nothing, and need not
    assert bell.proven


def test_a_ring_for_nothing_is_held_against_it(bell: Bell) -> None:
    bell.ring()
    bell.poll()
    assert not bell.proven
    bell.ring()
    bell.poll(brings=True)
    assert bell.proven
