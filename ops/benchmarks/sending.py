"""agent-send to a pane here, against the same steps as a shell script; and to a pane behind ssh, warm and cold."""

import subprocess
import time

from ops.benchmarks.table import Row, in_turn, median_row, ratios
from tests.fakes.terminals import Agent, Sshd, Terminal, loopback_sshd, private_terminal

# What a careful shell script does, in the same order: find the pane, look at it, paste, look until the text is there,
# press Enter, look until it is gone.
SCRIPT = r"""
set -eu
tmux="tmux -u -S $1"; pane=$2; text="[here:bench -> there:$3] $4"
$tmux display-message -p -t "$pane" '#{pane_id} #{pane_current_command} #{pane_in_mode}' >/dev/null
$tmux capture-pane -p -t "$pane" >/dev/null
printf '%s' "$text" | $tmux load-buffer -b bench -
$tmux paste-buffer -d -p -b bench -t "$pane"
until $tmux capture-pane -p -J -t "$pane" | grep -qF "$4"; do sleep 0.05; done
$tmux send-keys -t "$pane" Enter
$tmux capture-pane -p -t "$pane" >/dev/null
"""


def run(*, quick: bool) -> list[Row]:
    """The rows of this part."""
    rounds = 1 if quick else 10
    with private_terminal() as terminal, loopback_sshd() as sshd:
        agent = terminal.agent("a")
        far = {"AGENT_SEND_SSH_CONFIG": str(sshd.config)}
        numbers = iter(range(10_000))

        def send(*more: str) -> float:
            begin = time.perf_counter()
            done = terminal.run("agent_send", "-s", "a", *more, "-m", f"message {next(numbers)}", **far)
            if done.returncode != 0:
                raise SystemExit(f"agent-send exited {done.returncode}: {done.stderr}")
            return time.perf_counter() - begin

        def script() -> float:
            text = f"message {next(numbers)}"
            begin = time.perf_counter()
            subprocess.run(
                ["/bin/sh", "-c", SCRIPT, "sh", terminal.socket, agent.pane, "a", text],
                env=terminal.environment, check=True,
            )  # fmt: skip
            return time.perf_counter() - begin

        def cold() -> float:
            sshd.cut()
            return send("-H", "far")

        ours, shell, apart, warm = in_turn(rounds, send, script, cold, lambda: send("-H", "far"))
        _all_came(terminal, agent, sshd, rounds * 4)
    return [
        median_row("agent-send", "to a pane here", [t * 1000 for t in ours], "ms"),
        median_row("agent-send", "the same steps as a shell script", [t * 1000 for t in shell], "ms"),
        median_row("agent-send", "agent-send : shell script", ratios(ours, shell)),
        median_row("agent-send", "over loopback ssh, connection open : here", ratios(warm, ours)),
        median_row("agent-send", "over loopback ssh, connection to be made : here", ratios(apart, ours)),
    ]


def _all_came(terminal: Terminal, agent: Agent, sshd: Sshd, count: int) -> None:  # noqa: ARG001 - alive until here
    agent.wait("submit", count)
    got = [text.rpartition("message ")[2] for text in agent.submitted()]
    if got != [str(n) for n in range(count)]:
        raise SystemExit(f"agent-send lost or mixed messages: {got}")
