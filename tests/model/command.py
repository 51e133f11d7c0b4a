"""`ops/model`: search docs/protocol.md for holes. Every interleaving of a small world is looked at: docs/model.md.

Exit 0: no promise is broken, nothing is stuck, and without any one rule the search finds its hole. Exit 1: not so.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from tests.model import inbox, protocol
from tests.model.inbox import Inbox
from tests.model.rules import Scenario
from tests.model.scenarios import LONG, SHORT, WITHOUT, without
from tests.model.search import Found

EXAMPLES = """examples:
  ops/model                        the short searches, which are tests too
  ops/model --long                 all of them: some minutes, some GB of memory
  ops/model power long-group       these
  ops/model --without              each rule taken away in turn: its hole must be found
  ops/model --without void_note    one rule, with the way to its hole
  ops/model --list
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    parser = _parser()
    args = parser.parse_args(argv)
    named: dict[str, Scenario | Inbox] = {**{name: short.what for name, short in SHORT.items()}, **LONG}
    for name in args.names:
        if name not in (WITHOUT if args.without else named):
            parser.error(f"there is no {'rule' if args.without else 'search'} {name!r}; see ops/model --list")
    if args.list:
        for name, what in named.items():
            print(f"{name:24}{_words(what)}")
        print("rules:", *WITHOUT, sep="\n  ")
        return 0
    if args.without:
        rules = args.names or list(WITHOUT)
        return 1 if [rule for rule in rules if not _show_hole(rule, args.most, way=bool(args.names))] else 0
    names = args.names or [name for name in named if args.long or name in SHORT]
    began, wrong, states = time.monotonic(), [], 0
    for name in names:
        found = _look(name, named[name], args.most)
        states += found.states
        if not found.well:
            wrong.append(name)
    print(
        f"{len(names)} searches, {states:,} states, {time.monotonic() - began:.0f} s: {', '.join(wrong) or 'no hole'}"
    )
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ops/model", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="searches, or with --without rules; see --list")
    parser.add_argument("--long", action="store_true", help="the long searches too")
    parser.add_argument("--without", action="store_true", help="take rules away, and show what is found then")
    parser.add_argument("--most", type=int, default=3_000_000, metavar="STATES", help="give up beyond (3000000)")
    parser.add_argument("--list", action="store_true", help="name the searches")
    return parser


def look(
    what: Scenario | Inbox, *, most: int = 3_000_000, progress: Callable[[int, int], None] = lambda _found, _left: None
) -> Found:
    """Search either kind."""
    if isinstance(what, Scenario):
        return protocol.look(what, most=most, progress=progress)
    return inbox.look(what, most=most, progress=progress)


def _look(name: str, what: Scenario | Inbox, most: int) -> Found:
    began = time.monotonic()
    found = look(what, most=most, progress=_Progress(name))
    verdict = "no hole" if found.well else "NOT SEARCHED TO THE END" if not found.whole else "A HOLE"
    line = f"{found.states:9,} states {found.steps:10,} steps {found.ends:7,} ends"
    print(f"{name:24}{line} {time.monotonic() - began:6.1f} s  {verdict}", flush=True)
    if not found.well and found.whole:
        _show_way(found)
    return found


def _show_hole(rule: str, most: int, *, way: bool) -> bool:
    """Whether the search finds what a rule is good for, and finds nothing with it."""
    hole = WITHOUT[rule]
    well, found = look(hole.what, most=most), look(without(rule), most=most)
    seen = found.broken or (f"stuck: {found.stuck:,} states" if found.stuck else "nothing")
    as_expected = well.well and hole.words in seen
    print(f"without {rule:28}{seen}{'' if as_expected else '  NOT WHAT WAS EXPECTED'}", flush=True)
    if way:
        _show_way(found)
    return as_expected


def _show_way(found: Found) -> None:
    for number, label in enumerate(found.way, 1):
        print(f"  {number:3} {label}")
    print(f"      {found.broken or 'from here there is no way to an end'}")


def _words(what: Scenario | Inbox) -> str:
    """What differs from the plainest world."""
    plain = type(what)()._asdict()
    words = {name: value for name, value in what._asdict().items() if value != plain[name] and name != "budget"}
    if isinstance(what, Scenario):
        words.update({name: value for name, value in what.budget._asdict().items() if value})
    return ", ".join(f"{name}={value}" for name, value in words.items())


class _Progress:
    """A line that is overwritten, on a terminal only."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, found: int, left: int) -> None:
        if sys.stderr.isatty():
            print(f"{self._name:24}{found:9,} states, {left:,} to look at", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
