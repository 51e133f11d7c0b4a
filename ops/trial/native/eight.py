"""Eight different agents open on one machine, and what `bus-watch doctor` says of the way to each."""

import contextlib

from ops.trial.native.stack import Stack
from ops.trial.native.trial import ready_for_channels
from ops.trial.sessions import Session

UIS = ("codex", "claude", "opencode", "pi", "qwen", "gemini", "copilot", "kimi")


def run() -> int:
    """Open them, ask, and print what was said."""
    with contextlib.ExitStack() as stack:
        transports = {}
        sessions = {name: stack.enter_context(Session(ready_for_channels(name))) for name in UIS}
        for name, session in sessions.items():
            with contextlib.suppress(SystemExit):
                session.ready(20)
            transports[name] = ["-L", session.server.name, "-t", session.name]
        ours = Stack(transports)
        with ours:
            print(ours.words("doctor", "--channels"))
    return 0
