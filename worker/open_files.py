"""How many files this process may have open. launchd's soft limit is 256, while the hard one is far above it."""

import resource


def allow(wanted: int) -> None:
    """Let this process have as many files open as it wants, where its hard limit allows them; never fewer than now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = most()
    wanted = wanted if hard is None else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def most() -> int | None:
    """The hard limit, to which this process may raise its own; None for none."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def of_a_worker(workers: int, agents: int) -> int:
    """How many files a worker may need, the launcher of each running transport included."""
    return workers * _FILES_A_TRANSPORT + agents * _FILES_AN_AGENT + _FILES_ANYWAY


_FILES_A_TRANSPORT = 8
_FILES_AN_AGENT = 2
_FILES_ANYWAY = 64
