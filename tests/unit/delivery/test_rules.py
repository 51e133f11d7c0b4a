"""The rules of delivery as a table, and as properties."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import delivery
from worker.delivery import Counters, Ending, Meaning, MessageState, RetryPolicy, State

POLICY = RetryPolicy()
EXITS = st.integers(0, 255)
ENDINGS = st.one_of(
    EXITS.map(lambda code: Ending("exit", code)),
    st.sampled_from(["signal", "timeout", "spawn_error", "interrupted", "void", "not_started", "refused"]).map(
        lambda kind: Ending(kind, 9)  # type: ignore[arg-type]  # hypothesis does not know the literals
    ),
)
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 30),
    retry_delay=st.floats(0.001, 1000),
    retry_max_delay=st.floats(0.001, 100_000),
    on_unknown=st.sampled_from(["redeliver", "hold"]),
    give_up_after=st.floats(1, 1e7),
)


def decide(
    ending: Ending, counters: Counters, policy: RetryPolicy, now: float, *, cancelled: bool
) -> delivery.Decision:
    return delivery.decide(ending, counters, policy, now=now, cancelled=cancelled, rng=random.Random(1))


@pytest.mark.parametrize(
    ("ending", "meaning"),
    [
        (Ending("exit", 0), Meaning.SUCCESS),
        *[(Ending("exit", code), Meaning.PERMANENT) for code in (64, 65, 66, 77, 78)],
        (Ending("exit", 69), Meaning.FREE),
        (Ending("exit", 75), Meaning.FREE),
        (Ending("exit", 76), Meaning.UNKNOWN),
        *[(Ending("exit", code), Meaning.TRANSIENT) for code in (1, 2, 67, 68, 70, 74, 79, 126, 127, 255)],
        (Ending("signal", 9), Meaning.TRANSIENT),
        (Ending("spawn_error", 2), Meaning.TRANSIENT),
        (Ending("timeout", 9), Meaning.UNKNOWN),
        (Ending("interrupted"), Meaning.UNKNOWN),
        (Ending("refused"), Meaning.PERMANENT),
        (Ending("void"), Meaning.VOID),
        (Ending("not_started", 28), Meaning.NOT_STARTED),
    ],
)
def test_what_an_ending_means(ending: Ending, meaning: Meaning) -> None:
    assert delivery.meaning(ending, POLICY) is meaning


def test_permanent_codes_are_the_configurations() -> None:
    policy = RetryPolicy(permanent_exit_codes={3})
    assert delivery.meaning(Ending("exit", 3), policy) is Meaning.PERMANENT
    assert delivery.meaning(Ending("exit", 65), policy) is Meaning.TRANSIENT


@given(failures=st.integers(1, 10_000), policy=POLICIES, seed=st.integers())
def test_backoff_is_capped_and_jittered(failures: int, policy: RetryPolicy, seed: int) -> None:
    delay = delivery.backoff(failures, policy, random.Random(seed))
    ceiling = min(policy.retry_max_delay, policy.retry_delay * 2.0 ** min(failures - 1, 62))
    assert ceiling / 2 <= delay <= ceiling
    assert delay <= delivery.longest_delay(policy)


@given(
    ending=ENDINGS,
    policy=POLICIES,
    burnt=st.integers(0, 40),
    frees=st.integers(0, 10_000),
    voids=st.integers(0, 4),
    age=st.floats(0, 2e7),
    cancelled=st.booleans(),
)
def test_a_verdict_is_always_sane(
    ending: Ending, policy: RetryPolicy, burnt: int, frees: int, voids: int, age: float, *, cancelled: bool
) -> None:
    now = 1e9
    before = Counters(burnt, frees, voids, now - age)
    decision = decide(ending, before, policy, now, cancelled=cancelled)
    meaning = delivery.meaning(ending, policy)
    assert decision.state is not State.RUNNING
    assert (decision.next_at is not None) == (decision.state is State.RETRYING)
    if decision.next_at is not None:
        assert now <= decision.next_at <= now + delivery.longest_delay(policy)
    assert decision.counters.burnt - burnt in {0, 1}
    assert (decision.state is State.SUCCEEDED) == (meaning is Meaning.SUCCESS)
    if cancelled and meaning is not Meaning.SUCCESS:
        assert decision.state is State.CANCELLED
    elif meaning is Meaning.PERMANENT:
        assert decision.state is State.DEAD
    if meaning in {Meaning.FREE, Meaning.VOID, Meaning.NOT_STARTED}:
        assert decision.counters.burnt == burnt
    if decision.state is State.HELD:
        assert meaning is Meaning.UNKNOWN
        assert policy.on_unknown == "hold"
    if decision.state in {State.DEAD, State.HELD, State.RETRYING, State.CANCELLED}:
        assert decision.reason


@given(codes=st.lists(st.sampled_from([1, 69, 75, 76]), max_size=60), attempts=st.integers(1, 10))
def test_only_what_failed_counts(codes: list[int], attempts: int) -> None:
    """However endings are mixed, a delivery is dead at its `max_attempts`-th failure, and not before."""
    policy = RetryPolicy(max_attempts=attempts)
    counters, failures = Counters(first_seen=0.0), 0
    for code in codes:
        decision = decide(Ending("exit", code), counters, policy, 1.0, cancelled=False)
        failures += code in {1, 76}
        assert (decision.state is State.DEAD) == (failures >= attempts)
        if decision.state is State.DEAD:
            break
        counters = decision.counters


@given(st.lists(st.sampled_from(list(State)), max_size=6))
def test_a_message_is_over_when_all_of_its_deliveries_are(states: list[State]) -> None:
    outcome = delivery.message_outcome(states)
    final = {State.SUCCEEDED, State.DEAD, State.CANCELLED}
    assert (outcome is MessageState.OPEN) == any(state not in final for state in states)
    assert (outcome is MessageState.LOGGED) == (not states)
    assert (outcome is MessageState.DELIVERED) == (bool(states) and set(states) == {State.SUCCEEDED})


def test_where_a_class_goes() -> None:
    assert delivery.routes(None, None)
    assert delivery.routes("human", None)
    assert not delivery.routes("terminal-log", None)
    assert delivery.routes("terminal-log", {"terminal-log"})
    assert not delivery.routes("human", {"actionable"})
    assert delivery.routes(None, {"actionable"})


def test_every_ending_has_words() -> None:
    words = {delivery.describe(Ending(kind, 7)) for kind in delivery.EndingKind.__args__}  # type: ignore[attr-defined]
    assert len(words) == 8
    assert delivery.describe(Ending("exit", 1, "can't find pane")) == "exit 1: can't find pane"
