"""`huey_consumer worker.app.huey`, but impatient, and able to fall ill in one way once a file appears.

    python -m tests.fakes.sick_consumer SICKNESS TRIGGER [huey_consumer's options]

SICKNESS: `none`; `poll` hangs the next poll for ever; `scheduler` kills the scheduler's thread, and every one that
replaces it; `disk` fills the disk that the ledger lies on.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from worker.engine.polling import Poller
from worker.runtime import due, watchdog
from worker.runtime.huey import QuickScheduler


def hang_polls(trigger: Path) -> None:
    really = Poller.poll

    def poll(*args: Any, **options: Any) -> Any:
        while trigger.exists():
            threading.Event().wait()
        return really(*args, **options)

    Poller.poll = poll  # type: ignore[method-assign] # that is the sickness


def kill_schedulers(trigger: Path) -> None:
    really = QuickScheduler.loop

    def loop(self: QuickScheduler, now: Any = None) -> None:
        if trigger.exists():
            raise RuntimeError("this scheduler was told to die")
        really(self, now)

    QuickScheduler.loop = loop  # type: ignore[method-assign] # that is the sickness


def fill_disk(trigger: Path) -> None:
    folder = Path(os.environ["BUS_WATCH_STATE_PATH"]).parent

    def fill() -> None:
        while not trigger.exists():
            time.sleep(0.1)
        for size in (65536, 4096):
            try:
                with (folder / f"filler-{size}").open("wb", buffering=0) as filler:
                    while True:
                        filler.write(b"x" * size)
            except OSError:
                continue

    threading.Thread(target=fill, daemon=True).start()


def stay_well(_trigger: Path) -> None:
    """The control: nothing happens."""


def main() -> None:
    sickness, trigger = sys.argv[1], Path(sys.argv[2])
    # Short only for what is sick: the others follow from it, and on a busy machine might be noticed first.
    patience = {"sweep": 30.0, "poll": 30.0, "scheduler": 30.0}
    concerned = {"poll": ["poll"], "scheduler": ["scheduler"], "disk": ["sweep"], "none": list(patience)}
    watchdog.PATIENCE = watchdog.Patience(**patience | dict.fromkeys(concerned[sickness], 2.0 + (sickness == "none")))
    due.SWEEP_SECONDS = 0.5
    {"poll": hang_polls, "scheduler": kill_schedulers, "disk": fill_disk, "none": stay_well}[sickness](trigger)
    sys.argv[1:] = ["worker.app.huey", "-g", "TERM", "-t", "2", *sys.argv[3:]]
    from huey.bin import huey_consumer

    huey_consumer.consumer_main()


if __name__ == "__main__":
    main()
