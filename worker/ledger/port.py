"""What the ledger is to all who use it, whichever database keeps it: transactions of statements that both understand.

The statements of `worker.ledger` are written once, in what SQLite and PostgreSQL have in common, with `?` or `:name`
for values, and SQLite's `indexed by` where an index must be used. docs/architecture.md#one-set-of-statements has more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Values = Sequence[Any] | Mapping[str, Any]


class Row(Protocol):
    """One row, by name and by number."""

    def __getitem__(self, key: int | str, /) -> Any:
        """The value of a column."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The values."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def keys(self) -> Iterable[str]:
        """The names of the columns."""
        ...


class Rows(Protocol):
    """What a statement brought."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    def fetchone(self) -> Any:
        """The next `Row`; None: there is no more."""
        ...

    def fetchall(self) -> list[Any]:
        """All that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """One after the other."""
        ...


class Tx(Protocol):
    """A transaction, or a look at one moment of the ledger.

    The locks are for operations that decide by what they read: whoever else wants the same one waits until this
    transaction is over, and then reads what it left. Lanes are locked before messages, each in the order of their ids.
    """

    def execute(self, statement: str, values: Values = (), /) -> Rows:
        """Run one statement."""
        ...

    def executemany(self, statement: str, values: Iterable[Values], /) -> object:
        """Run it once for each of these."""
        ...

    def now(self) -> float:
        """What time it is for all who use this ledger (epoch seconds): its server's time, where it has one."""
        ...

    def lock_lanes(self, lanes: Iterable[int], /) -> None:
        """For whoever claims, wakes or pauses."""
        ...

    def lock_lane_of(self, delivery: int, /) -> None:
        """For whoever claims or settles this delivery."""
        ...

    def lock_lanes_of(self, message: int, /) -> None:
        """For whoever changes a message's deliveries."""
        ...

    def lock_message(self, message: int, /) -> None:
        """For whoever finishes it: of two deliveries that end together one must see the other's end."""
        ...

    def lock_inbox(self, agent: str, /) -> None:
        """For whoever polls it, or takes in what came."""
        ...

    def lock_outbox(self, agent: str, /) -> None:
        """For whoever puts something into it once."""
        ...

    def nudge(self) -> None:
        """Have the workers of all hosts of a fleet look at the ledger once this is committed."""
        ...

    # For whoever brings the rows of another ledger.

    def reserve(self, table: str, count: int, /) -> int:
        """A number behind which `count` numbers of this table are free, now and later; 0 where the table is empty."""
        ...

    def without_events(self) -> AbstractContextManager[None]:
        """What is written within happened elsewhere: no trigger tells of it."""
        ...

    def close_for_good(self, words: str, /) -> None:
        """Let nobody write any more, whoever has it open: they are told these words. Undone by `reopen`."""
        ...

    def reopen(self) -> None:
        """Let write again."""
        ...


class Ledger(Protocol):
    """The ledger of one process, with any number of threads.

    `on_back` is called when it can be used again after a time in which it could not, by whoever finds out; it must not
    use the ledger.
    """

    on_back: Callable[[], object]

    def write(self, operation: Callable[[Tx], T], /) -> T:
        """Run `operation` in a transaction and return its result once it is on the disk.

        It may be run again where its transaction was lost to another's. Raises what it raises (its changes are undone),
        or a LedgerError for the transaction itself.
        """
        ...

    def write_all(self, operations: Sequence[Callable[[Tx], T]], /) -> list[T | BaseException]:
        """Run several in one transaction: the result of each once they are on the disk, or what it raised.

        Raises a LedgerError for the transaction itself.
        """
        ...

    def read(self, operation: Callable[[Tx], T], /) -> T:
        """Run `operation`, which must not write. LedgerError."""
        ...

    def now(self) -> float:
        """What time it is for all who use it (epoch seconds): its server's time, where it has one. It asks nobody."""
        ...

    def return_pages(self) -> int:
        """Give some free pages back to the disk, a bounded number a call; returns how many."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...
