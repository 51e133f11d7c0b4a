"""The check of `doctor` on what the worker's process may open."""

from collections.abc import Iterator

from worker import open_files
from worker.doctor.finding import Finding
from worker.settings import Settings


def check(settings: Settings) -> Iterator[Finding]:
    """Whether a process may open as many files as the workers need; the worker raises its soft limit itself."""
    needed = open_files.of_a_worker(settings.workers, len(settings.agents))
    allowed = open_files.most()
    if allowed is not None and needed > allowed:
        text = f"{settings.workers} workers may need {needed} open files, at most {allowed} are allowed: ulimit -Hn"
        yield Finding("FAIL", "workers", text)
