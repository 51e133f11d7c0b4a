"""Submits to a stand-in agent from where a system unit would put the worker, and prints the outcome as JSON.

    python -m tests.fakes.hidden_processes [COMMAND...]

It enters namespaces in which /proc shows only processes that one may look into (ProtectProc=invisible) and nobody has a
capability (CapabilityBoundingSet=), starts tmux and the agent there, and `send-message` behind COMMAND.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.terminals import private_terminal

INSIDE = "BUS_WATCH_TEST_INSIDE"
ENTER = ("unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
HIDE = 'mount -t proc -o hidepid=invisible proc /proc && exec setpriv --bounding-set=-all --no-new-privs -- "$@"'


def main() -> None:
    if INSIDE not in os.environ:
        again = [sys.executable, "-m", "tests.fakes.hidden_processes", *sys.argv[1:]]
        os.environ[INSIDE] = "1"
        os.execvp(ENTER[0], [*ENTER, "sh", "-c", HIDE, "sh", *again])
    with private_terminal() as terminal:
        agent = terminal.agent("bob")
        command = [*sys.argv[1:], sys.executable, "-m", "worker.terminal.send_message"]
        options = ("--socket-path", terminal.socket, "-t", "bob", "--json", "-m", "from inside")
        environment = terminal.environment | {"PYTHONPATH": str(Path.cwd())}
        done = subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        told = {"status": done.returncode, "said": done.stdout + done.stderr, "submitted": agent.submitted()}
        print(json.dumps(told))


if __name__ == "__main__":
    main()
