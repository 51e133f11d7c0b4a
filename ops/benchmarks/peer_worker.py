"""One peer at work, in an environment that has it: `python peer_worker.py NAME fill|work PLACE COUNT THREADS SECONDS`.

Each is used as its own documentation shows it: one process, so many threads or tasks at a time. The work is to start a
process (/bin/true; or `sleep SECONDS`) and then to append `NUMBER TIME` to PLACE/record, as one write. Nothing of ours
is imported. Where its data is comes from the environment: PEER_DSN (PostgreSQL), PEER_REDIS (a port).
"""

# ruff: noqa: PLC0415 - only one of the peers is imported, and only where it is installed
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-call, no-any-unimported"

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

name, what, place, count, threads, seconds = sys.argv[1:]
COUNT, THREADS = int(count), int(threads)
ARGV = ["/bin/sleep", seconds] if float(seconds) else ["/bin/true"]


def job(number: int) -> None:
    subprocess.run(ARGV, stdin=subprocess.DEVNULL, check=True)
    line = f"{number} {time.time()}\n".encode()
    descriptor = os.open(f"{place}/record", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


def huey() -> None:
    from huey import SqliteHuey

    queue = SqliteHuey(filename=str(Path(place) / "huey.db"))

    @queue.task()
    def wake(number: int) -> None:
        job(number)

    if what == "fill":
        for number in range(COUNT):
            wake(number)
        return
    queue.create_consumer(workers=THREADS).run()


def dramatiq() -> None:
    import dramatiq as library
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(port=int(os.environ["PEER_REDIS"]))
    library.set_broker(broker)

    @library.actor
    def wake(number: int) -> None:
        job(number)

    if what == "fill":
        for number in range(COUNT):
            wake.send(number)
        return
    library.Worker(broker, worker_threads=THREADS).start()
    while True:
        time.sleep(3600)


def pgqueuer() -> None:
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
    from pgqueuer.queries import Queries

    async def main() -> None:
        driver = AsyncpgDriver(await asyncpg.connect(os.environ["PEER_DSN"]))
        queries = Queries(driver)
        if what == "fill":
            await queries.install()
            for begin in range(0, COUNT, 100):
                numbers = range(begin, min(COUNT, begin + 100))
                await queries.enqueue(["wake"] * len(numbers), [str(n).encode() for n in numbers], [0] * len(numbers))
            return
        program = PgQueuer(driver)

        @program.entrypoint("wake")
        async def wake(one: Any) -> None:
            await asyncio.to_thread(job, int(one.payload))

        await program.run(batch_size=THREADS, max_concurrent_tasks=2 * THREADS)

    asyncio.run(main())


def procrastinate() -> None:
    from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

    if what == "fill":
        app = App(connector=SyncPsycopgConnector(conninfo=os.environ["PEER_DSN"]))
    else:
        app = App(connector=PsycopgConnector(conninfo=os.environ["PEER_DSN"]))

    @app.task(name="wake")
    def wake(number: int) -> None:
        job(number)

    if what == "fill":
        with app.open():
            app.schema_manager.apply_schema()
            wake.batch_defer(*({"number": number} for number in range(COUNT)))
        return

    async def main() -> None:
        async with app.open_async():
            await app.run_worker_async(concurrency=THREADS)

    asyncio.run(main())


{"huey": huey, "dramatiq": dramatiq, "pgqueuer": pgqueuer, "procrastinate": procrastinate}[name]()
