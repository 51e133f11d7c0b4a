"""What is searched: a scenario, and the rules of docs/protocol.md, each of which a mutation takes away."""

from typing import NamedTuple

from tests.model.world import (
    NEW,
    OK,
    WAITING,
    Budget,
    Delivery,
    Host,
    Lane,
    Message,
    Past,
    Thread,
    Worker,
    World,
)


class Rules(NamedTuple):
    """Each true as in the code. With one of them false the search must find what it is good for."""

    # docs/protocol.md#claim
    claim_in_one_transaction: bool = True  # what is asked and what is written belong together
    one_runs_per_lane: bool = True
    head_first: bool = True
    next_claim_is_a_claim: bool = True  # the settle claims what is the head then, and not simply what follows
    # docs/protocol.md#launcher
    note_before_start: bool = True
    receipt_has_end_mark: bool = True
    receipt_names_attempt: bool = True  # files are used again, with their old content
    # docs/protocol.md#settle
    settle_by_attempt: bool = True  # and not by delivery
    settle_whole_group: bool = True
    finish_once: bool = True  # only where the message is still open
    unlink_after_settle: bool = True
    # docs/protocol.md#recovery
    void_note: bool = True
    void_note_stays: bool = True  # until its launcher is gone
    boot_is_asked: bool = True  # after a power cut an absent note proves nothing
    launcher_is_asked: bool = True
    receipt_read_again: bool = True
    orphan_is_waited_for: bool = True
    own_attempts_too: bool = True  # those that no thread holds
    # docs/protocol.md#sweep, #people
    sweep_wakes: bool = True
    drop_waits: bool = True  # what runs is cancelled when it ends
    # docs/model.md#the-fleet
    start_by: bool = True  # the launcher starts nothing later
    must_be_over: bool = True  # a lost host's attempt is left alone until then
    lane_is_asked: bool = True  # a claim asks which host has the lane
    take_over_idle_lanes_only: bool = True
    late_receipt_believed: bool = True
    late_only_if_not_begun: bool = True
    late_needs_its_files: bool = True  # they stay until the late receipt was read
    forget_waits: bool = True  # until what ran on the forgotten host must be over


class Scenario(NamedTuple):
    """A small world and the faults that may befall it.

    `hosts`: on which host each worker is. `queue`: wake-ups go through huey's queue and schedule; without, any thread
    may claim at any time what can be claimed, as `run --once` does, which allows for more. `once`: the last worker is
    such a run beside a queue. `late`: the first message may come after the second. `anywhere`: lanes may run on any
    host. `hold`: `on_unknown`.
    """

    messages: int = 2
    lanes: int = 1
    hosts: tuple[int, ...] = (0, 0)
    threads: int = 1
    max_attempts: int = 2
    queue: bool = False
    once: bool = False
    late: bool = False
    ordered: bool = True
    coalesce: bool = False
    hold: bool = False
    anywhere: bool = False
    budget: Budget = Budget(worker_kills=1)
    rules: Rules = Rules()

    @property
    def fleet(self) -> bool:
        """Whether there is more than one host."""
        return max(self.hosts) > 0

    def lane_of(self, delivery: int) -> int:
        """The lane of a delivery."""
        return delivery % self.lanes

    def message_of(self, delivery: int) -> int:
        """Its message."""
        return delivery // self.lanes

    def in_lane(self, lane: int) -> range:
        """The deliveries of a lane, in inbox order."""
        return range(lane, self.messages * self.lanes, self.lanes)

    def of_message(self, message: int) -> range:
        """The deliveries of a message."""
        return range(message * self.lanes, (message + 1) * self.lanes)

    def start(self) -> World:
        """The first moment: workers and launchers are there, and all messages taken in unless that is searched too."""
        count = self.messages * self.lanes
        comes = self.queue or self.late
        threads = (Thread(),) * self.threads
        return World(
            deliveries=(Delivery(NEW if comes else WAITING),) * count,
            messages=(Message(NEW if comes else "open"),) * self.messages,
            attempts=(),
            lanes=(Lane(),) * self.lanes,
            hosts=(Host(),) * (max(self.hosts) + 1),
            queue=(),
            schedule=(),
            workers=(Worker(0, up=True, threads=threads),) * len(self.hosts),
            launchers=tuple((slot, 0) for slot in range(len(self.hosts))),
            files=(),
            children=(),
            budget=self.budget,
            past=Past((0,) * count, (1,) * count, (-5,) * self.lanes),
        )


STALE = OK  # what a pooled file says of the attempt before
