"""One moment of the searched world: what is in the ledger, in the queue, on disk and in each process.

Everything is a tuple, so that two moments that are alike are equal. Deliveries are numbered message by message: the one
of message `m` in lane `t` is `m * lanes + t`. An attempt's id is (delivery, starts), which no other attempt ever has.
"""

from typing import Final, NamedTuple, TypeVar

AttemptId = tuple[int, int]
LauncherId = tuple[int, int]  # (worker's slot, its incarnation): a worker and its launcher share an id

NEW: Final = "new"  # still on the bus
WAITING: Final = "waiting"
RETRYING: Final = "retrying"
RUNNING: Final = "running"
HELD: Final = "held"
SUCCEEDED: Final = "succeeded"
DEAD: Final = "dead"
CANCELLED: Final = "cancelled"
FINAL: Final = frozenset({SUCCEEDED, DEAD, CANCELLED})
PENDING: Final = frozenset({WAITING, RETRYING})

# How an attempt ended, in the words of worker/delivery.py. `TORN` is a receipt that is not complete.
OK: Final = "exit 0"
FAILED: Final = "exit 1"
TIMEOUT: Final = "timeout"
INTERRUPTED: Final = "interrupted"
VOID: Final = "void"
NOT_STARTED: Final = "not_started"
TORN: Final = "torn"


class Delivery(NamedTuple):
    """A row of `deliveries`. `exempt`: it came late or a person asked again, so that it may run after younger ones."""

    state: str
    attempt: AttemptId | None = None
    starts: int = 0
    burnt: int = 0
    cancel: bool = False
    exempt: bool = False


class Message(NamedTuple):
    """A row of `messages`: `new`, `open`, `delivered` or `failed`; and how often it was finished since it opened."""

    state: str
    finished: int = 0


class Attempt(NamedTuple):
    """A row of `attempts` with its companions, while it runs; or `lapsed`: called unknown by another host.

    `fence`: 0 while it is young, 1 once its `start_by` has passed, 2 once it must be over.
    """

    id: AttemptId
    members: tuple[int, ...]
    starts: tuple[int, ...]  # of each member, which attempt it is
    launcher: LauncherId
    boot: int
    fence: int = 0
    lapsed: bool = False


class Lane(NamedTuple):
    """A row of `lanes`: the host that has it, and where a person wants it to be."""

    host: int = 0
    moving_to: int | None = None


class Host(NamedTuple):
    """One machine: its boot; `away`: it cannot reach the ledger; `lost`: no heartbeat for `host_lost_after`."""

    boot: int = 0
    away: bool = False
    lost: bool = False
    forgotten: bool = False
    gone: bool = False  # for ever


class File(NamedTuple):
    """`ATTEMPT.note`: a void note, or note and receipt of an attempt; `named`: the transport's pid stands in it."""

    attempt: AttemptId
    void: bool
    receipt: str = ""
    named: bool = False
    stale: str = ""  # the receipt of another attempt, which was in the pooled file


class Child(NamedTuple):
    """What a launcher has to do with one attempt, from the request to the telling.

    `phase`: `asked` (unread), `noted`, `running`, `exited`, `torn` (half a receipt), `written`, or `orphan`: it runs
    on, and its launcher is dead. `given_up`: recovery could neither find nor kill that orphan.
    """

    attempt: AttemptId
    members: tuple[int, ...]
    launcher: LauncherId
    phase: str
    outcome: str = ""
    given_up: bool = False


class Thread(NamedTuple):
    """One deliver thread and what it answers for.

    `at`: `idle`, `woken` (a task is taken), `looked` (a mutation's claim), `claimed`, `asked`, `ended`, `settled`.
    """

    at: str = "idle"
    delivery: int = -5
    attempt: AttemptId | None = None
    members: tuple[int, ...] = ()
    outcome: str = ""
    owed: tuple[tuple[str, int], ...] = ()  # wake-ups to send: ("queue" or "schedule", delivery)
    also: AttemptId | None = None  # claimed by a commit whose answer was lost


class Sweep(NamedTuple):
    """Recovery of one attempt by one worker: the next step, and what was found."""

    attempt: AttemptId
    at: str
    outcome: str = ""


class Worker(NamedTuple):
    """One worker process; a new incarnation for each start. `moved`: schedule rows that its scheduler has taken out."""

    incarnation: int
    up: bool
    threads: tuple[Thread, ...]
    sweep: Sweep | None = None
    moved: tuple[int, ...] = ()
    polled: tuple[tuple[str, int], ...] = ()  # what its poll owes the queue


class Budget(NamedTuple):
    """How many faults, failures and commands are still to come."""

    worker_kills: int = 0
    launcher_kills: int = 0
    power_cuts: int = 0
    lost_threads: int = 0
    failures: int = 0
    timeouts: int = 0
    commands: int = 0
    partitions: int = 0
    lost_answers: int = 0
    moves: int = 0
    lost_hosts: int = 0


class Past(NamedTuple):
    """What no part of the system knows, and the promises are about. By delivery; `furthest` by lane.

    `allowed`: how often it may run to success: once, and once more for each attempt of which nobody can know.
    """

    successes: tuple[int, ...]
    allowed: tuple[int, ...]
    furthest: tuple[int, ...]


class World(NamedTuple):
    """All of it."""

    deliveries: tuple[Delivery, ...]
    messages: tuple[Message, ...]
    attempts: tuple[Attempt, ...]
    lanes: tuple[Lane, ...]
    hosts: tuple[Host, ...]
    queue: tuple[int, ...]
    schedule: tuple[int, ...]
    workers: tuple[Worker, ...]
    launchers: tuple[LauncherId, ...]
    files: tuple[File, ...]
    children: tuple[Child, ...]
    budget: Budget
    past: Past

    def attempt(self, wanted: AttemptId) -> Attempt | None:
        """The row of an attempt that runs, or lapsed."""
        return next((one for one in self.attempts if one.id == wanted), None)

    def file(self, wanted: AttemptId) -> File | None:
        """Its note."""
        return next((one for one in self.files if one.attempt == wanted), None)

    def child(self, wanted: AttemptId) -> Child | None:
        """What its launcher has to do with it."""
        return next((one for one in self.children if one.attempt == wanted), None)

    def lives(self, worker: LauncherId) -> bool:
        """Whether the worker's lock is held."""
        found = self.workers[worker[0]]
        return found.up and found.incarnation == worker[1]

    def with_thread(self, slot: int, number: int, thread: Thread) -> "World":
        """The same, but for this thread."""
        worker = self.workers[slot]
        return self._replace(
            workers=put(self.workers, slot, worker._replace(threads=put(worker.threads, number, thread)))
        )

    def with_worker(self, slot: int, worker: Worker) -> "World":
        """The same, but for this worker."""
        return self._replace(workers=put(self.workers, slot, worker))

    def with_file(self, file: File) -> "World":
        """The same, but for this file."""
        others = [one for one in self.files if one.attempt != file.attempt]
        return self._replace(files=tuple(sorted([*others, file])))

    def without_file(self, attempt: AttemptId) -> "World":
        """Its file removed."""
        return self._replace(files=tuple(one for one in self.files if one.attempt != attempt))

    def with_child(self, child: Child) -> "World":
        """The same, but for this child."""
        others = [one for one in self.children if one.attempt != child.attempt]
        return self._replace(children=tuple(sorted([*others, child])))

    def without_child(self, child: Child) -> "World":
        """The launcher is done with it."""
        return self._replace(children=tuple(one for one in self.children if one.attempt != child.attempt))

    def spent(self, what: str) -> "World":
        """One fault less to come."""
        return self._replace(budget=self.budget._replace(**{what: getattr(self.budget, what) - 1}))


Item = TypeVar("Item")


def put(items: tuple[Item, ...], index: int, item: Item) -> tuple[Item, ...]:
    """The tuple with another item at the index."""
    return (*items[:index], item, *items[index + 1 :])


def added(items: tuple[int, ...], item: int) -> tuple[int, ...]:
    """As a set: sorted, each once."""
    return items if item in items else tuple(sorted((*items, item)))


def removed(items: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Without it."""
    return tuple(one for one in items if one != item)
