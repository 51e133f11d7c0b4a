"""The search: every state that can be reached, breadth first, and the shortest way to a broken promise.

Whatever is found from a state in which nothing is broken: can the end still be reached from it, without counting on any
fault? If not, it is stuck. It knows nothing of what it searches.
"""

import time
from array import array
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, Protocol, TypeVar


class Broken(Exception):  # noqa: N818 - a promise is
    """A promise is broken: raised by what makes the next steps."""


S = TypeVar("S", bound=Hashable)
S_co = TypeVar("S_co", bound=Hashable, covariant=True)


class Step(Protocol[S_co]):
    """What leads from a state to the next. `fault`: it may happen, but nobody may count on it."""

    @property
    def label(self) -> str:
        """For people."""

    @property
    def world(self) -> S_co:
        """The next state."""

    @property
    def fault(self) -> bool:
        """Whether it is one."""


class Found(NamedTuple):
    """What a search found. `way`: the steps to a `broken` promise, or to the first state that is stuck.

    `whole`: nothing was left out; else there were more states than was allowed. `ends`: states in which all is over.
    """

    states: int
    steps: int
    ends: int
    broken: str = ""
    stuck: int = 0
    way: tuple[str, ...] = ()
    whole: bool = True

    @property
    def well(self) -> bool:
        """No promise is broken, nothing is stuck, and nothing was left out."""
        return not self.broken and not self.stuck and self.whole


def search(
    start: S,
    steps: Callable[[S], Iterable[Step[S]]],
    is_over: Callable[[S], bool],
    *,
    most: int = 3_000_000,
    progress: Callable[[int, int], None] = lambda _found, _left: None,
) -> Found:
    """Look at every state. `progress` is told every two seconds how many are found, and how many of them are left."""
    number = {start: 0}
    found = [start]
    before, labels = array("q", [0]), [""]
    sources, targets, ends = array("q"), array("q"), array("q")
    at = count = 0
    told = time.monotonic()

    def way(index: int) -> tuple[str, ...]:
        words: list[str] = []
        while index:
            words.append(labels[index])
            index = before[index]
        return tuple(reversed(words))

    while at < len(found):
        state = found[at]
        try:
            if is_over(state):
                ends.append(at)
            for step in steps(state):
                count += 1
                following = step.world
                index = number.setdefault(following, len(found))
                if index == len(found):
                    found.append(following)
                    before.append(at)
                    labels.append(step.label)
                if not step.fault:
                    sources.append(at)
                    targets.append(index)
        except Broken as promise:
            return Found(len(found), count, len(ends), broken=str(promise), way=way(at))
        at += 1
        if len(found) > most:
            return Found(len(found), count, len(ends), whole=False)
        if not at % 1000 and time.monotonic() - told > 2.0:
            told = time.monotonic()
            progress(len(found), len(found) - at)
    stuck = _without_end(len(found), sources, targets, ends)
    return Found(len(found), count, len(ends), stuck=len(stuck), way=way(stuck[0]) if stuck else ())


def _without_end(count: int, sources: "array[int]", targets: "array[int]", ends: "array[int]") -> list[int]:
    """The states from which no way leads to an end, found by going all ways backwards."""
    first = array("q", [-1]) * count
    following = array("q", [0]) * len(targets)
    for edge, target in enumerate(targets):
        following[edge] = first[target]
        first[target] = edge
    reaches = bytearray(count)
    for end in ends:
        reaches[end] = 1
    left = list(ends)
    while left:
        edge = first[left.pop()]
        while edge != -1:
            source = sources[edge]
            if not reaches[source]:
                reaches[source] = 1
                left.append(source)
            edge = following[edge]
    return [index for index in range(count) if not reaches[index]]
