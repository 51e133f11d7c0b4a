"""`ops/faults`: the long forms of the fault runs, with figures. Each prints its seed; exit 1 if anything was wrong."""

import argparse
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops.benchmarks.rivals import bare
from tests.fakes.streams import GENERATIONS
from tests.faults.alarms import Alarms
from tests.faults.fleet import LOST_AFTER, Hosts
from tests.faults.flood import flood
from tests.faults.kills import LAUNCHER_STEPS, WARM_STEPS, WORKER_STEPS, Step, kill_at_random, kill_at_step, lose_power
from tests.faults.lanes import Lanes
from tests.faults.outbox import COMMAND_POINTS, DOWN, WORKER_POINTS, Outboxes
from tests.faults.record import Verdict
from tests.faults.scale import build, compare, measure, table
from tests.faults.storm import Storm
from tests.world.postgres import running_server
from tests.world.waiting import until

RECOVERY_SECONDS = 15.0  # after the return of a server
POINTS = len(COMMAND_POINTS) + len(WORKER_POINTS)

EXAMPLES = """examples:
  ops/faults kills --kills 500 --messages 5000 --lanes 3                one consumer, about 10 minutes
  ops/faults kills --kills 500 --messages 5000 --lanes 3 --consumers 2  two on one ledger
  ops/faults kills --reloads                                            the configuration changes in between
  ops/faults kills --kills 200 --messages 1000 --alerts                 each alert is opened once and closed once
  ops/faults fleet --kills 200 --messages 5000 --lanes 200              two hosts, four workers, PostgreSQL
  ops/faults fleet --outage hang --messages 1200 --lanes 40             its server stands still for 30 s
  ops/faults fleet --lose-host 4 --on-unknown hold                      a host dies with four in flight
  ops/faults storm --kills 20                                           200 messages in a minute to a busy agent
  ops/faults steps --times 20                                           a kill at each named step, about 20 minutes
  ops/faults steps --times 20 --only outbox                             at the ten of a message that is sent
  ops/faults outage --seconds 60                                        agents send while the bus is down
  ops/faults outage --how lost --on-unknown hold                        it has the messages, and does not say so
  ops/faults power --times 20 --on-unknown hold                         the power fails
  ops/faults locked --seconds 15                                        the ledger's write lock is taken
  ops/faults pair                                                       one consumer against two
  ops/faults flood --messages 100000                                    all at once: intake, delivery, memory
  ops/faults flood --messages 10000 --first-start --bare                against as many bare starts
  ops/faults flood --messages 1150 --size 16000 --online
  ops/faults scale --rows 1000000                                       what a long history costs
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of them."""
    parser = argparse.ArgumentParser(
        prog="ops/faults", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeat an earlier run"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this folder, and leave it as it is")
    commands = parser.add_subparsers(dest="command", required=True)
    kills = commands.add_parser("kills", help="kill -9 at random moments")
    kills.add_argument("--kills", type=int, default=500)
    kills.add_argument("--messages", type=int, default=5000)
    kills.add_argument("--lanes", type=int, default=3)
    kills.add_argument("--consumers", type=int, default=1)
    kills.add_argument(
        "--alerts", action="store_true", help="one lane finds nobody there, by turns, and people are told"
    )
    kills.add_argument("--reloads", action="store_true", help="the configuration changes once in each life")
    fleet = commands.add_parser(
        "fleet", help="two hosts with one ledger in PostgreSQL: kill -9, or an outage of the server"
    )
    fleet.add_argument("--kills", type=int, default=200)
    fleet.add_argument("--messages", type=int, default=5000)
    fleet.add_argument("--lanes", type=int, default=200)
    fleet.add_argument("--consumers", type=int, default=4)
    fleet.add_argument("--outage", choices=("stop", "crash", "hang"), help="instead of kills")
    fleet.add_argument("--seconds", type=float, default=30.0, help="of the outage")
    fleet.add_argument("--lose-host", type=int, metavar="N", help="instead: a host is lost with so many in flight")
    fleet.add_argument("--on-unknown", choices=("redeliver", "hold"), default="redeliver", help="what they are then")
    fleet.add_argument("--bound", action="store_true", help="its lanes are bound to it, and it comes back")
    storm = commands.add_parser("storm", help="kill -9 while a storm of messages coalesces into few wakes")
    storm.add_argument("--kills", type=int, default=20)
    storm.add_argument("--messages", type=int, default=200)
    storm.add_argument("--seconds", type=float, default=60.0, help="in which they come")
    storm.add_argument("--coalesce", type=float, default=30.0)
    storm.add_argument("--most", type=int, default=10, help="wakes that are few")
    steps = commands.add_parser("steps", help="kill -9 at each named step of worker and launcher")
    steps.add_argument("--times", type=int, default=20)
    steps.add_argument("--only", metavar="STEP", help="one step, for example worker.settled; outbox: all of its ten")
    outage = commands.add_parser("outage", help="the bus is down while agents send, and a worker is killed meanwhile")
    outage.add_argument("--seconds", type=float, default=60.0)
    outage.add_argument("--how", choices=DOWN, default="refused", help="nobody listens (refused), or nobody answers")
    outage.add_argument("--on-unknown", choices=("redeliver", "hold"), default="redeliver")
    power = commands.add_parser("power", help="everything dies at once, and unsynced files with it")
    power.add_argument("--times", type=int, default=20)
    power.add_argument("--on-unknown", choices=("redeliver", "hold"), default="redeliver")
    locked = commands.add_parser("locked", help="another process keeps the ledger's write lock")
    locked.add_argument("--seconds", type=float, default=15.0)
    pair = commands.add_parser("pair", help="are two consumers slower than one?")
    pair.add_argument("--messages", type=int, default=600)
    pair.add_argument("--rounds", type=int, default=3)
    floods = commands.add_parser("flood", help="very many messages wait, or come at once")
    floods.add_argument("--messages", type=int, default=100_000)
    floods.add_argument("--size", type=int, default=200, metavar="BYTES", help="of each")
    floods.add_argument("--generation", choices=GENERATIONS, default="C")
    floods.add_argument("--online", action="store_true", help="they come while the worker polls")
    floods.add_argument("--first-start", action="store_true", help="there is no ledger yet")
    floods.add_argument("--bare", action="store_true", help="compare with as many bare process starts")
    floods.add_argument("--taken-in", action="store_true", help="look at the intake only: the transport is paused")
    scale = commands.add_parser("scale", help="a ledger with very many delivered messages")
    scale.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args(argv)
    print(f"seed {args.seed}", flush=True)
    if args.keep:
        args.keep.mkdir(parents=True)
        return _run(args, args.keep)
    with tempfile.TemporaryDirectory(prefix="bus-watch-faults-") as home:
        return _run(args, Path(home))


def _run(args: argparse.Namespace, home: Path) -> int:
    begun = time.monotonic()
    runs = {
        "kills": _kills,
        "fleet": _fleet,
        "storm": _storm,
        "steps": _steps,
        "outage": _outage,
        "power": _power,
        "locked": _locked,
        "pair": _pair,
        "scale": _scale,
        "flood": _flood,
    }
    clean = runs[args.command](args, home)
    print(f"{'clean' if clean else 'NOT CLEAN'} after {time.monotonic() - begun:.0f} s, seed {args.seed}")
    return 0 if clean else 1


def _told(verdict: Verdict, world: Lanes, title: str = "") -> bool:
    print(f"{title}{verdict.words()}; deliveries {world.states()}", flush=True)
    return verdict.clean


def _kills(args: argparse.Namespace, home: Path) -> bool:
    if args.alerts:
        return _alarms(args, home)
    with Lanes(home, lanes=args.lanes, seed=args.seed) as world:
        verdict = kill_at_random(
            world, kills=args.kills, messages=args.messages, consumers=args.consumers, reloads=args.reloads, say=True
        )
        return _told(verdict, world, f"{args.kills} kills: ") and verdict.runs == verdict.kept


def _fleet(args: argparse.Namespace, home: Path) -> bool:
    if args.lose_host:
        return _lost_host(args, home)
    with running_server(durable=True) as server, Hosts(home, server, lanes=args.lanes, seed=args.seed) as world:
        if args.outage:
            found = world.outage(args.outage, args.seconds, messages=args.messages, consumers=args.consumers)
            title = f"{args.outage} for {args.seconds:g} s: {found.words()}: "
            return _told(world.verdict(), world, title) and found.first <= RECOVERY_SECONDS
        verdict = kill_at_random(world, kills=args.kills, messages=args.messages, consumers=args.consumers, say=True)
        return _told(verdict, world, f"{args.kills} kills: ") and verdict.runs == verdict.kept


def _lost_host(args: argparse.Namespace, home: Path) -> bool:
    with running_server(durable=True) as server:
        how: dict[str, Any] = {"transport": {"timeout": 10, "on_unknown": args.on_unknown}, "seed": args.seed}
        how["settings"] = {"host_lost_after": LOST_AFTER}
        with Hosts(home, server, lanes=args.lanes, bound=args.bound, **how) as world:
            verdict = world.lose_host(args.lose_host, messages=args.messages)
            title = f"lost with {args.lose_host} in flight, {'bound' if args.bound else args.on_unknown}: "
            return _told(verdict, world, title)


def _alarms(args: argparse.Namespace, home: Path) -> bool:
    with Alarms(home, lanes=args.lanes, seed=args.seed) as world:
        verdict, tally = world.campaign(kills=args.kills, messages=args.messages, consumers=args.consumers, say=True)
        print(tally.words(), flush=True)
        title = f"{args.kills} kills: "
        return _told(verdict, world, title) and verdict.runs == verdict.kept and bool(tally.alerts) and not tally.wrong


def _storm(args: argparse.Namespace, home: Path) -> bool:
    with Storm(home, coalesce=args.coalesce, busy=4, seed=args.seed) as world:
        found = world.weather(messages=args.messages, seconds=args.seconds, kills=args.kills)
        print(f"{args.kills} kills: {found.words()}; deliveries {world.states()}", flush=True)
        return found.clean and len(found.wakes) <= args.most


def _steps(args: argparse.Namespace, home: Path) -> bool:
    steps = [step for step in (*WORKER_STEPS, *LAUNCHER_STEPS, *WARM_STEPS) if args.only in {None, step.name}]
    clean = [_step(args, home / step.name, step) for step in steps]  # all of them, whatever the first one showed
    if args.only in {None, "outbox"}:
        clean += [_outbox_steps(args, home / f"outbox-{chosen}", chosen) for chosen in ("redeliver", "hold")]
    return all(clean)


def _outbox_steps(args: argparse.Namespace, home: Path, on_unknown: str) -> bool:
    """A kill at each point of what agents send, both of the command's and of the worker's."""
    with Outboxes(home, on_unknown=on_unknown) as world:
        interrupted = world.kill_at_each(args.times)
        with world.running("bus-watch", "run"):
            until(world.drained, "the rest to be sent", 300.0)
        held = world.count("select count(*) from outbox where state = 'held'")
        sent = sum(map(len, world.sent.owed.values()))
        wrong = world.judge()
        print(
            f"outbox, {on_unknown:9} {args.times * POINTS} kills at {POINTS} points, {sent} sent: {interrupted} "
            f"interrupted, {world.doubled()} doubled, {held} held: {wrong or '0 lost, in order'}",
            flush=True,
        )
        return not wrong and held == (interrupted if on_unknown == "hold" else 0)


def _outage(args: argparse.Namespace, home: Path) -> bool:
    with Outboxes(home / "home", on_unknown=args.on_unknown) as world:
        found = world.outage(args.seconds, how=args.how)
        print(f"down for {args.seconds:g} s ({args.how}, {args.on_unknown}): {found.words()}")
        return not found.wrong


def _step(args: argparse.Namespace, home: Path, step: Step) -> bool:
    home.mkdir()
    transport = {"timeout": 20 if step.sends else 2, "retry_delay": 0.2}
    with Lanes(home, seed=args.seed, longest=0.1, transport=transport, sends=step.sends) as world:
        interrupted = kill_at_step(world, step, times=args.times)
        world.start_worker()
        world.drain(300.0)
        verdict = world.verdict(interrupted=interrupted)
        again = verdict.runs - verdict.kept
        title = f"{step.name:32} {args.times} kills, {again} run again of {interrupted.total()} interrupted: "
        return _told(verdict, world, title)


def _power(args: argparse.Namespace, home: Path) -> bool:
    transport = {"retry_delay": 0.2, "on_unknown": args.on_unknown}
    with Lanes(home, seed=args.seed, transport=transport) as world:
        interrupted: Counter[str] = Counter()
        for boot in range(args.times):
            world.feed(20)
            interrupted += Counter(lose_power(world, boot))
        world.start_worker()
        world.drain(300.0)
        held = world.keys("held")
        if args.on_unknown == "hold":
            verdict = world.verdict(unfinished=held)
        else:
            verdict = world.verdict(interrupted=interrupted)
        title = (
            f"{args.times} power losses, {interrupted.total()} attempts interrupted, "
            f"{len(held)} held, {verdict.runs - verdict.kept} more runs than messages: "
        )
        return _told(verdict, world, title) and held <= set(interrupted)


def _locked(args: argparse.Namespace, home: Path) -> bool:
    with Lanes(home, seed=args.seed, longest=0.05) as world:
        world.feed(100)
        process = world.start_worker()
        until(lambda: len(world.keys("succeeded")) >= 30, "some work")
        other = sqlite3.connect(world.ledger, isolation_level=None)
        other.execute("begin immediate")
        world.feed(50)
        time.sleep(args.seconds)
        done = len(world.keys("succeeded"))
        other.execute("rollback")
        released = time.monotonic()
        until(lambda: len(world.keys("succeeded")) > done, "work after the lock")
        print(f"locked for {args.seconds} s; the first settle {time.monotonic() - released:.1f} s after it")
        world.drain()
        return _told(world.verdict(), world) and process.poll() is None


def _pair(args: argparse.Namespace, home: Path) -> bool:
    """Transports that last no time at all, so that the consumers are what is measured."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    clean = True
    for number in range(args.rounds * 2):
        consumers = 1 + number % 2
        place = home / str(number)
        place.mkdir()
        with Lanes(place, seed=args.seed, longest=0.0) as world:
            world.feed(3)
            for _ in range(consumers):
                world.start_worker()
            until(lambda: world.drained() and world.count("select count(*) from workers") == consumers, "the start")  # noqa: B023 - called here
            world.feed(args.messages)
            begun = time.monotonic()
            world.drain(300.0)
            seconds[consumers].append(time.monotonic() - begun)
            title = f"{consumers} consumer(s), {seconds[consumers][-1]:.1f} s: "
            clean = _told(world.verdict(), world, title) and clean
    one, two = (statistics.median(seconds[consumers]) for consumers in (1, 2))
    print(f"median {one:.1f} s with one, {two:.1f} s with two: {two / one:.2f} times")
    return clean


def _flood(args: argparse.Namespace, home: Path) -> bool:
    found = flood(
        home / "home",
        messages=args.messages,
        size=args.size,
        generation=args.generation,
        online=args.online,
        deliver=not args.taken_in,
        first_start=args.first_start,
        say=lambda line: print(line, flush=True),
    )
    print(f"{args.messages} of {args.size} bytes, generation {args.generation}: {found.words()}", flush=True)
    if args.bare and found.delivered is not None:
        seconds = [args.messages / bare(args.messages, threads) for threads in (1, 4)]
        print(
            f"{args.messages} bare starts: {seconds[0]:.1f} s one after the other, {seconds[1]:.1f} s from 4 threads; "
            f"delivered in {found.delivered / seconds[0]:.2f} and {found.delivered / seconds[1]:.2f} times that"
        )
    return not found.wrong


def _scale(args: argparse.Namespace, home: Path) -> bool:
    figures = []
    for rows in (0, 100, args.rows):
        place = home / str(rows)
        place.mkdir()
        begun = time.monotonic()
        engine = build(place, rows)
        print(f"{rows} delivered rows in {time.monotonic() - begun:.1f} s, {_size(place):.0f} MB", flush=True)
        figures.append((f"{rows} delivered", measure(engine)))
        engine.db.close()
    print(table(figures))
    empty, small, large = (one for _, one in figures)
    wrong = compare(small, large)
    for name in ("poll", "poll that brings nothing", "sweep"):
        ratio = large.seconds[name] / empty.seconds[name]
        print(f"{name}: {ratio:.2f} times the time with an empty ledger")
        wrong += [f"{name} takes {ratio:.2f} times as long"] if ratio >= 1.5 else []
    wrong += ["status takes 50 ms or more"] if large.seconds["status"] >= 0.05 else []
    print(f"{len(large.plans)} statements, {len(wrong)} problem(s)")
    for problem in wrong:
        print(f"  {problem}")
    return not wrong


def _size(place: Path) -> float:
    return sum(path.stat().st_size for path in place.iterdir() if path.is_file()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
