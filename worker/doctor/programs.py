"""The check of `doctor` on this installation: whether it is complete."""

from collections.abc import Iterator

from worker.doctor.finding import Finding
from worker.errors import BusWatchError
from worker.install import installation


def check() -> Iterator[Finding]:
    """Whether this installation is complete."""
    try:
        yield Finding("ok", "worker", str(installation.script("huey_consumer", "huey_consumer.py")))
    except BusWatchError as error:
        yield Finding("FAIL", "worker", str(error))
