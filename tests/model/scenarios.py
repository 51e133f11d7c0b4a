"""What is searched, by name: the short ones in the tests, with exactly so many states; the long ones by `ops/model`.

And for each rule a world that is just large enough to show what happens without it.
"""

from typing import NamedTuple

from tests.model.inbox import Inbox, PollRules
from tests.model.rules import Rules, Scenario
from tests.model.world import Budget


class Short(NamedTuple):
    """A scenario, and how many states and steps its search must find: fewer, and something is not searched any more."""

    what: Scenario | Inbox
    states: int
    steps: int


class Hole(NamedTuple):
    """What the search must find without a rule: words of the broken promise, or `stuck`. With it, it finds nothing."""

    what: Scenario | Inbox
    words: str


ONE = Scenario(messages=1)
ALONE = Scenario(hosts=(0,))
ALONE_ONE = Scenario(messages=1, hosts=(0,))
FLEET = Scenario(messages=1, hosts=(0, 1))
ANYWHERE = FLEET._replace(anywhere=True)

SHORT: dict[str, Short] = {
    "kill": Short(Scenario(budget=Budget(worker_kills=1)), 4717, 12568),
    "launcher": Short(ALONE_ONE._replace(budget=Budget(worker_kills=1, launcher_kills=1)), 2081, 4474),
    "launcher-hold": Short(ALONE._replace(hold=True, budget=Budget(launcher_kills=1)), 278, 390),
    "power": Short(ALONE._replace(budget=Budget(power_cuts=1, worker_kills=1)), 2730, 4855),
    "power-hold": Short(ALONE._replace(hold=True, budget=Budget(power_cuts=1, worker_kills=1)), 1600, 2935),
    "timeout-hold": Short(ALONE._replace(hold=True, budget=Budget(worker_kills=1, timeouts=1)), 544, 1004),
    "thread": Short(ALONE._replace(budget=Budget(lost_threads=1, worker_kills=1)), 2463, 6367),
    "queue": Short(ALONE._replace(queue=True, budget=Budget(worker_kills=1)), 1380, 3198),
    "group": Short(ALONE._replace(coalesce=True, budget=Budget(worker_kills=1, failures=1)), 2097, 4136),
    "people": Short(Scenario(late=True, budget=Budget(commands=2)), 639, 1132),
    "no-order": Short(ALONE._replace(ordered=False, budget=Budget(worker_kills=1, failures=1)), 2170, 4321),
    "two-lanes": Short(Scenario(messages=1, lanes=2, budget=Budget()), 158, 288),
    "fleet-bound": Short(FLEET._replace(budget=Budget(partitions=1, worker_kills=1)), 2857, 9183),
    "fleet-anywhere": Short(ANYWHERE._replace(messages=2, budget=Budget(partitions=1, failures=1)), 3404, 7533),
    "fleet-hold": Short(ANYWHERE._replace(hold=True, budget=Budget(partitions=1, worker_kills=1)), 5313, 16039),
    "fleet-answer": Short(ANYWHERE._replace(messages=2, budget=Budget(lost_answers=2)), 2125, 4296),
    "fleet-burns": Short(ANYWHERE._replace(messages=2, budget=Budget(lost_hosts=1)), 414, 732),
    "fleet-forget": Short(FLEET._replace(budget=Budget(partitions=1, commands=1)), 709, 1766),
    "fleet-move": Short(FLEET._replace(messages=2, budget=Budget(moves=1, worker_kills=1)), 2229, 5255),
    "inbox": Short(Inbox(late=True, back=True), 2755, 7198),
    "inbox-a": Short(Inbox(generation="A", late=True, back=True), 2741, 7173),
    "inbox-room": Short(Inbox(room=1, late=True), 526, 1176),
    "inbox-two": Short(Inbox(messages=2, pollers=2, late=True), 1480, 4606),
    "inbox-forgets": Short(Inbox(late=True, forgets=2), 1054, 2613),
}

LONG: dict[str, Scenario | Inbox] = {
    "long-kill-twice": ALONE._replace(budget=Budget(worker_kills=2, failures=1)),
    "long-kills": Scenario(budget=Budget(worker_kills=2, failures=1)),
    "long-three-messages": Scenario(messages=3, budget=Budget(worker_kills=1, failures=1)),
    "long-three-workers": Scenario(hosts=(0, 0, 0), budget=Budget(worker_kills=1)),
    "long-launcher-failure": ALONE_ONE._replace(budget=Budget(worker_kills=1, launcher_kills=1, failures=1)),
    "long-launcher": Scenario(budget=Budget(launcher_kills=1)),
    "long-launcher-kill": ONE._replace(budget=Budget(worker_kills=1, launcher_kills=1)),
    "long-launcher-hold": Scenario(hold=True, budget=Budget(launcher_kills=1)),
    "long-power": Scenario(budget=Budget(power_cuts=1, worker_kills=1)),
    "long-power-hold": Scenario(hold=True, budget=Budget(power_cuts=1, worker_kills=1)),
    "long-thread": ONE._replace(budget=Budget(worker_kills=1, lost_threads=1, failures=1)),
    "long-queue": ONE._replace(queue=True, budget=Budget(worker_kills=1, failures=1)),
    "long-queue-power": ALONE._replace(queue=True, budget=Budget(worker_kills=1, power_cuts=1)),
    "long-once": Scenario(messages=1, queue=True, once=True, budget=Budget(worker_kills=1, failures=1)),
    "long-threads": ALONE_ONE._replace(lanes=2, threads=2, budget=Budget(worker_kills=1, failures=1)),
    "long-group": Scenario(coalesce=True, budget=Budget(worker_kills=1, failures=1)),
    "long-group-launcher": ALONE._replace(coalesce=True, budget=Budget(worker_kills=1, launcher_kills=1, failures=1)),
    "long-group-people": ALONE._replace(
        messages=3, coalesce=True, budget=Budget(worker_kills=1, commands=1, timeouts=1)
    ),
    "long-late": Scenario(late=True, budget=Budget(worker_kills=1)),
    "long-people": Scenario(late=True, budget=Budget(worker_kills=1, commands=1)),
    "long-fleet-kill": ANYWHERE._replace(budget=Budget(partitions=1, worker_kills=1)),
    "long-fleet-hold": ANYWHERE._replace(messages=2, hold=True, budget=Budget(partitions=1, worker_kills=1)),
    "long-fleet-launcher": ANYWHERE._replace(budget=Budget(partitions=1, launcher_kills=1)),
    "long-fleet-power": ANYWHERE._replace(hold=True, budget=Budget(partitions=1, power_cuts=1)),
    "long-fleet-partitions": ANYWHERE._replace(messages=2, budget=Budget(partitions=2, timeouts=1)),
    "long-fleet-answer": ANYWHERE._replace(messages=2, budget=Budget(lost_answers=1, worker_kills=1)),
    "long-fleet-group": ANYWHERE._replace(
        messages=3, coalesce=True, hold=True, budget=Budget(partitions=2, failures=1)
    ),
    "long-fleet-move": FLEET._replace(messages=2, budget=Budget(moves=2, partitions=1, worker_kills=1)),
    "long-fleet-burns": FLEET._replace(messages=2, budget=Budget(lost_hosts=1, partitions=1, commands=1)),
    "long-fleet-pairs": ANYWHERE._replace(hosts=(0, 0, 1), budget=Budget(partitions=1)),
    "long-inbox": Inbox(messages=5, pollers=2, late=True),
    "long-inbox-forgets": Inbox(messages=5, pollers=2, forgets=2),
}

WITHOUT: dict[str, Hole] = {
    "claim_in_one_transaction": Hole(ONE._replace(budget=Budget()), "starts beside"),
    "one_runs_per_lane": Hole(Scenario(late=True, budget=Budget()), "starts beside"),
    "head_first": Hole(Scenario(budget=Budget()), "which is younger"),
    "next_claim_is_a_claim": Hole(ALONE._replace(budget=Budget(failures=1)), "which is younger"),
    "note_before_start": Hole(ONE, "starts beside"),
    "receipt_has_end_mark": Hole(ONE, "done twice"),
    "receipt_names_attempt": Hole(ONE, "never was"),
    "settle_by_attempt": Hole(ONE, "starts beside"),
    "settle_whole_group": Hole(ALONE._replace(coalesce=True, budget=Budget()), "stuck"),
    "finish_once": Hole(ALONE_ONE._replace(max_attempts=1, budget=Budget(failures=1, commands=1)), "finished twice"),
    "unlink_after_settle": Hole(ONE, "done twice"),
    "void_note": Hole(ALONE_ONE._replace(budget=Budget(lost_threads=1)), "stuck"),
    "void_note_stays": Hole(ONE, "starts beside"),
    "boot_is_asked": Hole(ALONE_ONE._replace(hold=True, budget=Budget(power_cuts=1)), "done twice"),
    "launcher_is_asked": Hole(ONE, "starts beside"),
    "receipt_read_again": Hole(ONE, "done twice"),
    "orphan_is_waited_for": Hole(ONE._replace(budget=Budget(launcher_kills=1)), "starts beside"),
    "own_attempts_too": Hole(ALONE_ONE._replace(budget=Budget(lost_threads=1)), "stuck"),
    "sweep_wakes": Hole(ALONE_ONE._replace(queue=True), "stuck"),
    "drop_waits": Hole(Scenario(budget=Budget(commands=1)), "starts beside"),
    "start_by": Hole(ANYWHERE._replace(budget=Budget(partitions=1)), "has not its lane"),
    "must_be_over": Hole(ANYWHERE._replace(budget=Budget(partitions=1)), "has not its lane"),
    "lane_is_asked": Hole(FLEET._replace(budget=Budget()), "has not its lane"),
    "take_over_idle_lanes_only": Hole(ANYWHERE._replace(budget=Budget(partitions=1)), "has not its lane"),
    "late_receipt_believed": Hole(ANYWHERE._replace(hold=True, budget=Budget(partitions=1)), "its receipt says"),
    "late_only_if_not_begun": Hole(ANYWHERE._replace(messages=2, budget=Budget(partitions=1)), "has not its lane"),
    "late_needs_its_files": Hole(
        ANYWHERE._replace(hold=True, budget=Budget(partitions=1, worker_kills=1)), "its receipt says"
    ),
    "forget_waits": Hole(FLEET._replace(budget=Budget(partitions=1, commands=1)), "has not its lane"),
    "full_page_is_widened": Hole(Inbox(), "which was there"),
    "known_proves_nothing": Hole(Inbox(), "stuck"),
    "asks_from_before": Hole(Inbox(late=True), "which was there"),
    "oldest_first": Hole(Inbox(), "which was there"),
    "keeps_the_oldest": Hole(Inbox(room=1), "which was there"),
    "known_is_asked_inside": Hole(Inbox(messages=2, pollers=2), "recorded twice"),
    "floor_is_kept": Hole(Inbox(messages=3, forgets=1), "recorded twice"),
    "looks_back": Hole(Inbox(back=True), "stuck"),
}


def without(rule: str) -> Scenario | Inbox:
    """The world of a rule, without it."""
    what = WITHOUT[rule].what
    if isinstance(what, Scenario):
        return what._replace(rules=Rules()._replace(**{rule: False}))
    return what._replace(rules=PollRules()._replace(**{rule: False}))
