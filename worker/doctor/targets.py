"""Which pane a command of our own sends to on this host, and whether it is there and surely that one."""

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from worker.install.config_file import PASSING_ID
from worker.terminal import places
from worker.terminal.command import glued
from worker.terminal.runner import LocalRunner
from worker.terminal.tmux import Server


def check(command: Sequence[str]) -> Iterator[tuple[Literal["note", "FAIL"], str]]:
    """What to say of the target in the command, as level and text; nothing if the session is there.

    A target that a message chooses is known only when it is sent.
    """
    command = glued(command)
    given = next((word.partition("=")[2] for word in command if word.startswith(("--target=", "--session="))), "")
    target = given.replace("{{", "\0").replace("}}", "}")
    if not target or "{" in target:
        return
    target = target.replace("\0", "{")
    if shutil.which("tmux") is None:
        yield "FAIL", "tmux is not on PATH: install it"
        return
    environment = {key: value for key, value in os.environ.items() if key != "TMUX"}
    socket, name = _behind(command, "--socket-path"), _behind(command, "-L", "--socket-name")
    panes = Server(LocalRunner(environment), socket_path=socket, socket_name=name).panes_if_any()
    session = target.partition(":")[0]
    if why := places.ambiguous(panes, target):
        yield "FAIL", why
    elif any(one.session == session for one in panes):
        return
    elif PASSING_ID.search(target):
        yield (
            "FAIL",
            (
                f"{target} is an id, which tmux gives anew when it restarts, perhaps to another agent's pane: "
                "name the session instead"
            ),
        )
    elif (made := places.renamed(panes, target)) or "." in session:
        made = made or session.replace(".", "_")
        level: Literal["note", "FAIL"] = "FAIL" if "." in session else "note"  # what has no such character may yet come
        yield level, f"tmux changes some characters in names: the session of {target!r} is called {made!r}, write that"
    else:
        yield "note", f"there is no tmux session {session!r} now; messages wait until it is"


def _behind(command: Sequence[str], *options: str) -> str:
    """The argument of the first of these options that is there."""
    return next((value for word, value in pairwise(command) if word in options), "")
