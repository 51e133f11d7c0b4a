"""What the worker is compared with, each run as a process of its own: `python -m ops.benchmarks.rivals NAME ...`.

bare COUNT THREADS          subprocess.run from so many threads: what the machine can do
naive COUNT KNOWN           the old watcher's loop: fetch a page, run the argv, write the state file anew; one at a time
stock COUNT THREADS         huey's own SqliteHuey and consumer running the same argv, without a ledger
serial COUNT                bare, one after the other
sessions COUNT THREADS      bare, but each process in a session of its own, as ours must be to be killed whole

Each prints how many it ran a second.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from ops.benchmarks.world import paging_bus

ARGV = ["/bin/true"]
STATE_IDS = 2000  # the old tool kept the newest so many ids
PAGE = 10


def start_one(argv: Sequence[str] = ARGV, *, session: bool = False) -> None:
    subprocess.run(argv, stdin=subprocess.DEVNULL, check=True, start_new_session=session)


def sessions(count: int, threads: int) -> float:
    return bare(count, threads, session=True)


def bare(count: int, threads: int, *, argv: Sequence[str] = ARGV, session: bool = False) -> float:
    def work() -> None:
        for _ in range(count // threads):
            start_one(argv, session=session)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return count // threads * threads / (time.perf_counter() - begin)


def naive(count: int, known: int) -> float:
    """The old watcher's loop, rebuilt from its source (sos/watch/core.py): what it does for each message, and no more.

    It remembers ids in a set, starts the argv with both outputs captured and the message in its environment, and after
    each message sorts the set and writes the newest 2,000 ids anew, indented, without a sync.
    """
    with tempfile.TemporaryDirectory() as folder, paging_bus(PAGE) as url:
        state = Path(folder) / "state.json"
        first = int(time.time() * 1000)
        delivered = {f"{first - n}-0" for n in range(known)}
        done = 0
        begin = time.perf_counter()
        while done < count:
            request = urllib.request.Request(f"{url}/inbox?agent=a&limit={PAGE}", headers={"Authorization": "Bearer t"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                messages = json.load(answer)["messages"]
            for message in messages:
                if message["id"] in delivered:
                    continue
                environment = os.environ | {"SOS_MESSAGE_STREAM_ID": message["id"], "SOS_MESSAGE_TEXT": message["text"]}
                subprocess.run(ARGV, env=environment, capture_output=True, text=True, timeout=30, check=True)
                delivered.add(message["id"])
                newest = sorted(delivered)[-STATE_IDS:]
                state.write_text(json.dumps({"delivered": newest}, indent=2) + "\n", encoding="utf-8")
                done += 1
        return done / (time.perf_counter() - begin)


def stock(count: int, threads: int) -> float:
    from huey import SqliteHuey  # noqa: PLC0415 - the others do without

    with tempfile.TemporaryDirectory() as folder:
        huey = SqliteHuey(filename=str(Path(folder) / "huey.db"))
        finished = threading.Semaphore(0)

        @huey.task()  # type: ignore[untyped-decorator]  # huey ships no types
        def wake(_number: int) -> None:
            start_one()
            finished.release()

        for number in range(count):
            wake(number)
        consumer = huey.create_consumer(workers=threads)
        begin = time.perf_counter()
        consumer.start()
        for _ in range(count):
            finished.acquire()
        rate = count / (time.perf_counter() - begin)
        consumer.stop(graceful=True)
        return rate


def serial(count: int) -> float:
    return bare(count, 1)


RIVALS: dict[str, Callable[..., float]] = {
    "bare": bare,
    "sessions": sessions,
    "naive": naive,
    "stock": stock,
    "serial": serial,
}


def measure(name: str, *sizes: int) -> float:
    """Run one in a process of its own; how many a second."""
    argv = [sys.executable, "-m", "ops.benchmarks.rivals", name, *map(str, sizes)]
    return float(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    print(RIVALS[sys.argv[1]](*map(int, sys.argv[2:])))
