"""Call `send-message` as the worker does, and judge its verdict by the model's log."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ops.trial.cases import Message
from ops.trial.sessions import Session
from ops.trial.stopping import go_on
from ops.trial.terminal import Server

ROOT = Path(__file__).resolve().parents[2]
DEFERRED = 75
TYPED = frozenset({"submitted", "queued"})
NOT_TYPED = frozenset({"deferred", "refused", "gone"})


@dataclass(frozen=True)
class Said:
    """What one call of `send-message` said: exit status, verdict, all of its JSON, and how long it took in seconds."""

    status: int
    verdict: str
    report: dict[str, Any]
    seconds: float
    stderr: str = ""


@dataclass
class Outcome:
    """One message: what `send-message` said last and what the log says."""

    text: str
    verdict: str
    status: int
    seconds: float
    calls: int
    proof: str
    times: int = 0
    intact: bool = False
    seen: str = ""
    reason: str = ""
    wanted: str = "once"
    """`once`: it must arrive. `withheld`: it must not be typed, and said so. `either`: what is said must be true."""
    notes: list[str] = field(default_factory=list)
    since: int = 0
    """How many requests the model had had before it was sent."""
    window: float = 0.0
    """Seconds that passed at most between the last look and Enter; 0: Enter was not pressed."""

    @property
    def once(self) -> bool:
        """Did it arrive exactly once, and whole?"""
        return self.times == 1 and self.intact

    @property
    def agrees(self) -> bool:
        """Is the verdict true? "unproven" claims nothing, so it is never false; it is counted by itself."""
        if self.verdict in TYPED:
            return self.once
        if self.verdict in NOT_TYPED:
            return self.times == 0
        return self.verdict == "unproven"

    @property
    def good(self) -> bool:
        """Did what was wanted happen, and was it said?"""
        if self.wanted == "either":
            return self.agrees and self.times <= 1
        happened = self.once if self.wanted == "once" else self.times == 0 and self.verdict in NOT_TYPED
        return happened and self.agrees and self.verdict != "unproven"

    def as_json(self) -> dict[str, Any]:
        """Everything, for the results."""
        return {**asdict(self), "once": self.once, "agrees": self.agrees, "good": self.good}


def environment() -> dict[str, str]:
    """Ours, outside of any tmux: the target is what the arguments say."""
    kept = {k: v for k, v in os.environ.items() if k not in {"TMUX", "TMUX_PANE"}}
    return kept | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def call(session: Session, text: str) -> Said:
    """One call of `send-message` for the session's pane, the text on its standard input."""
    return to_pane(session.server, session.pane, text)


def to_pane(server: Server, pane: str, text: str) -> Said:
    """One call of `send-message` for any pane."""
    return run("worker.terminal.send_message", ["-t", pane], server, text)


def call_from_afar(session: Session, text: str, ssh_config: Path, label: str) -> Said:
    """One call of `agent-send` for the UI's tmux session on the host that `ssh_config` calls `far`."""
    argv = ["-H", "far", "-s", session.name, "-n", "far", "-S", label, "--ssh-config", str(ssh_config)]
    return run("worker.terminal.agent_send", argv, session.server, text)


def run(module: str, target: Sequence[str], server: Server, text: str) -> Said:
    """One call of one of the commands."""
    go_on()
    argv = [sys.executable, "-m", module, "--socket-name", server.name, "--json", *target]
    begun = time.monotonic()
    done = subprocess.run(argv, input=text.encode(), capture_output=True, check=False, timeout=120, env=environment())
    took = time.monotonic() - begun
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    verdict = str(report.get("verdict", f"exit {done.returncode}"))
    return Said(done.returncode, verdict, report, took, done.stderr.decode(errors="replace")[-2000:])


def deliver(
    session: Session,
    text: str,
    *,
    patience: float = 45.0,
    pause: float = 1.0,
    how: Callable[[Session, str], Said] = call,
    wanted: str = "once",
) -> Outcome:
    """Send as the worker does: what is deferred, or not there yet, is sent again `pause` seconds later."""
    session.truth.refresh()
    since = len(session.truth.requests)
    end = time.monotonic() + patience
    calls = 0
    notes = []
    while True:
        said = how(session, text)
        calls += 1
        if said.verdict not in {"deferred", "gone", "refused"} or time.monotonic() > end:
            break
        notes.append(f"{said.verdict}: {said.report.get('reason', '')}")
        time.sleep(pause)
    return Outcome(
        text=text,
        verdict=said.verdict,
        status=said.status,
        seconds=round(said.seconds, 3),
        calls=calls,
        proof=str(said.report.get("proof") or said.report.get("evidence") or ""),
        reason=str(said.report.get("reason") or said.stderr),
        notes=notes[-5:],
        wanted=wanted,
        since=since,
        window=float((said.report.get("timings") or {}).get("window") or 0.0),
    )


def judge(session: Session, message: Message, outcome: Outcome, *, limit: float = 30.0) -> Outcome:
    """Wait for the message in the log, or long enough to see that it does not come; write down how it came."""
    session.truth.wait(message, limit if outcome.verdict not in NOT_TYPED else 1.0, outcome.since)
    return look(session, message, outcome)


def look(session: Session, message: Message, outcome: Outcome) -> Outcome:
    """Write down how the message came, as of now."""
    session.truth.refresh()
    found = session.truth.found(message, outcome.since)
    outcome.times, outcome.intact, outcome.seen = found.times, found.intact, found.seen[:400]
    elsewhere, near = map(session.truth.handed_over, (message.files, message.near))
    outcome.intact = outcome.intact and not elsewhere
    for handed_over, whose in ((elsewhere, "elsewhere"), (near, "of its directory")):
        note = f"a file {whose} was handed over to the model"
        if handed_over and note not in outcome.notes:
            outcome.notes.append(note)
    return outcome
