"""The check of `doctor` on what the worker's process may open."""

import resource
from collections.abc import Iterator

from worker.doctor.finding import Finding
from worker.settings import Settings

FILES_A_WORKER = 8  # descriptors that one running transport may need, in worker and launcher
FILES_ANYWAY = 64


def check(settings: Settings) -> Iterator[Finding]:
    """Whether this process may open as many files as its workers need."""
    needed = settings.workers * FILES_A_WORKER + len(settings.agents) * 2 + FILES_ANYWAY
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        text = f"{settings.workers} workers may need {needed} open files, {allowed} are allowed: ulimit -n {needed}"
        yield Finding("FAIL", "workers", text)
