"""One question about many rows: `in (?, ?, ...)`, in few lengths, so that a connection keeps them prepared."""

import functools
from collections.abc import Iterable, Iterator

MOST = 128  # values in one statement


def of(values: Iterable[int | str]) -> Iterator[list[int | str]]:
    """The values in parts, each as long as a power of two: the last one is repeated, for which `in` does not care."""
    left = list(values)
    while left:
        some, left = left[:MOST], left[MOST:]
        missing = (1 << (len(some) - 1).bit_length()) - len(some)
        yield some + some[-1:] * missing


@functools.cache
def marks(count: int) -> str:
    """`(?, ?, ?)`, of so many."""
    return f"({', '.join('?' * count)})"
