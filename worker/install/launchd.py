"""A launchd agent. Keys: launchd.plist(5)."""

import plistlib
from collections.abc import Sequence
from pathlib import Path

STOP_SECONDS = 20  # the consumer's -t; below ExitTimeOut

PATH_VARIABLE = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
"""launchd's own default holds no Homebrew, and so no tmux; /opt/homebrew is Apple silicon's, /usr/local Intel's."""


def label(agents: Sequence[str], instance: str) -> str:
    """The job's name: after its agent, or after the configuration where that has several."""
    return f"com.bus-watch.{agents[0]}" if len(agents) == 1 else f"com.bus-watch.{instance}"


BUS_LABEL = "com.bus-watch-bus"  # no agent's: theirs begin with com.bus-watch.


def render_bus(command: Sequence[str], log_folder: Path) -> str:
    """The embedded bus's own job: it may end, and be started again, without any worker's doing."""
    content = {
        "Label": BUS_LABEL,
        "ProgramArguments": list(command),
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(log_folder / f"{BUS_LABEL}.stderr.log"),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 2,
        "Umask": 0o077,
    }
    return plistlib.dumps(content, sort_keys=False).decode()


def render(job: str, consumer: Sequence[str], config: Path, log_folder: Path) -> str:
    """The property list. No shell is in it: launchd executes ProgramArguments as they are."""
    content = {
        "Label": job,
        "ProgramArguments": list(consumer),
        "WorkingDirectory": str(config.parent),
        "EnvironmentVariables": {
            "BUS_WATCH_CONFIG": str(config),
            "PATH": PATH_VARIABLE,
            # launchd never rotates StandardErrorPath: the log goes to a file that the worker rotates itself, and only
            # what is said before logging begins (a bad configuration) lands there.
            "BUS_WATCH_LOG_FILE": str(log_folder / f"{job}.log"),
        },
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(log_folder / f"{job}.stderr.log"),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 5,
        # SIGTERM, then SIGKILL after this many seconds; the worker's -t is below it.
        "ExitTimeOut": STOP_SECONDS + 10,
        # Transports and their launcher outlive the worker: without this launchd kills its process group.
        "AbandonProcessGroup": True,
        # Adaptive means Background for a job that uses no XPC: efficiency cores and throttled I/O, for transports too.
        "ProcessType": "Interactive",
        "Umask": 0o077,
    }
    return plistlib.dumps(content, sort_keys=False).decode()
