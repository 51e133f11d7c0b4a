"""The consumer with a stopwatch: `python -m ops.benchmarks.probe FILE COUNT BUSY`, in a World's environment.

Puts a message into the ledger as a poll does, and notes when its transport was started, COUNT times with a pause
between; with BUSY, while the other lanes work off a backlog. Writes the delays in seconds, until the claim and until
the start, to FILE as JSON.
"""

import json
import sys
import threading
import time
from pathlib import Path

from ops.benchmarks.world import message
from worker.app import from_environment
from worker.ledger import intake
from worker.ledger.lanes import Wake
from worker.transports.client import RunEnded

AGENT = "agent0"


def main(target: Path, count: int, pause: float) -> None:
    program = from_environment()
    engine = program.engine
    consumer = program.huey.create_consumer(workers=8)
    started: dict[str, float] = {}
    ended = threading.Event()
    on_ended = engine.dispatcher.launcher.on_ended

    def watched(ended: list[RunEnded]) -> None:
        started.update((one.attempt_id, one.outcome.started_at) for one in ended if one.outcome)
        on_ended(ended)

    engine.dispatcher.launcher.on_ended = watched
    consumer.start()
    time.sleep(0.5)  # the first sweep and the first polls are not what is measured
    delays: dict[str, list[float]] = {"claim": [], "start": []}
    for _ in range(count):
        ended.wait(pause)
        begin = time.time()
        new = message(AGENT, int(begin * 1000))

        def operation(tx: object, new: object = new, begin: float = begin) -> list[Wake]:
            taken = intake.take_in(tx, AGENT, [new], lambda _: (None, ["true"]), begin)  # type: ignore[arg-type,list-item]
            return engine.wake_ups.mark(tx, taken.lanes, only_new=True)  # type: ignore[arg-type]

        wakes = engine.db.write(operation)
        enqueued = time.time()
        engine.wake_ups.send(wakes)
        attempt = None
        while attempt is None or attempt["id"] not in started:
            time.sleep(0.005)
            attempt = engine.db.read(
                lambda db: db.execute(
                    "select id, started_at from attempts where delivery = ?",
                    (wakes[0].delivery,),  # noqa: B023 - called here
                ).fetchone()
            )
        delays["claim"].append(attempt["started_at"] - enqueued)
        delays["start"].append(started[attempt["id"]] - enqueued)
    target.write_text(json.dumps(delays), encoding="ascii")
    consumer.stop(graceful=True)
    program.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
