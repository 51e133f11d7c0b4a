"""One UI that is woken natively, and the judge of what became of each message: the stand-in model's log."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ops.trial.installing import environment
from ops.trial.model import MARKER
from ops.trial.sending import ROOT
from ops.trial.sessions import Session
from ops.trial.setups import Start
from ops.trial.uis import UI, UIS
from worker.install import channels

SURE = (0, 76)
"""The exit statuses after which the message is not sent again as another attempt would send it."""
LATE = 10.0
PROMISED = 180.0
"""Seconds: OpenCode that has just been started has stored a message, and its turn has begun, long before its first
request, for which it loads the provider first. That is late, not lost."""


@dataclass
class Case:
    """What became of the messages of one case."""

    name: str
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Trial:
    """One UI, woken natively."""

    def __init__(self, session: Session, via: str) -> None:
        self.session, self.via = session, via

    def environment(self, key: str) -> dict[str, str]:
        """As the worker starts a transport."""
        least = {"PATH": os.environ["PATH"], "HOME": str(self.session.home), "LANG": "C.UTF-8", "TERM": "dumb"}
        return {**least, "SOS_MESSAGE_SOURCE": "agent:bob", "SOS_AGENT": "al", "SOS_MESSAGE_KEY": key}

    def argv(self, *more: str, command: tuple[str, ...] = ("worker.terminal.wake",)) -> list[str]:
        """The transport's command; `command`: the module that stands in for it, and what that one wants first."""
        start = [sys.executable, "-m", *command, "-L", self.session.server.name, "-t", self.session.name]
        return [*start, "--json", "--via", self.via, *more]

    def wake(self, text: str, *more: str, key: str = "", step: str = "") -> dict[str, Any]:
        """One call; its report, with `status`, when it `began`, and the seconds that it `took`."""
        environment = self.environment(key or uuid.uuid4().hex) | ({"BUS_WATCH_FAULT_STEP": step} if step else {})
        began = time.time()
        done = subprocess.run(
            self.argv(*more), input=text, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
        )
        return _report(done.stdout, done.stderr, done.returncode, began)

    def halted(self, text: str, key: str, step: str, meanwhile: Callable[[], None]) -> dict[str, Any]:
        """As `wake`, by a sender that stands still at a step while something happens; whether it was `halted` there.

        If it passes that step by another way, typing say, nothing happens.
        """
        began = time.time()
        process = subprocess.Popen(
            self.argv(command=("ops.trial.native.halting", step)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self.environment(key),
        )
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
        seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert seen is not None
        if halted := seen.si_code == os.CLD_STOPPED:
            meanwhile()
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate()
        return _report(out, err, process.returncode, began) | {"halted": halted}

    def arrived(self, mark: str) -> int:
        """How often the conversation has the message by now."""
        self.session.truth.refresh()
        return max((one["markers"].count(mark) for one in self.session.truth.main()), default=0)

    def when(self, mark: str) -> float:
        """When the model first had it."""
        return next((float(one["at"]) for one in self.session.truth.main() if mark in one["markers"]), 0.0)

    def whole(self, mark: str, text: str) -> bool:
        """Whether what arrived is the text, with the preamble in front."""
        blocks = [new for one in self.session.truth.main() for new in one["new"] if mark in new]
        return bool(blocks) and all(f"[agent:bob -> al] {text}" in block for block in blocks)

    def take(self, case: Case, text: str, report: dict[str, Any]) -> None:
        """Count a message, and wait for it: as long as its verdict says that it is there."""
        case.sent.append((text, report))
        said = time.monotonic()
        self.wait([mark_of(text)], PROMISED if report["status"] == 0 else 10.0)
        if time.monotonic() - said > LATE and self.arrived(mark_of(text)):
            case.notes.append(f"it reached the model more than {LATE:.0f} s after its verdict")

    def wait(self, marks: list[str], limit: float = 20.0) -> None:
        """Wait until all have arrived, and a moment longer for a second time of one."""
        end = time.monotonic() + limit
        while time.monotonic() < end and not all(self.arrived(one) for one in marks):
            time.sleep(0.1)
        time.sleep(1.0)

    def follow(self, marks: list[str], quiet: float = 60.0) -> None:
        """Wait until all have arrived, for as long as now and then another one does; then as `wait`."""
        there, last = 0, time.monotonic()
        while there < len(marks) and time.monotonic() - last < quiet:
            time.sleep(0.5)
            if (now := sum(self.arrived(one) > 0 for one in marks)) > there:
                there, last = now, time.monotonic()
        time.sleep(1.0)

    def idle(self) -> None:
        """Wait until the UI stands still."""
        self.session.server.still(self.session.pane, quiet=0.8, limit=30)

    def enter(self, text: str) -> None:
        """Submit as a person does."""
        self.session.server.paste(self.session.pane, text)
        time.sleep(0.5)
        self.session.server.keys(self.session.pane, "Enter")

    def second(self) -> str:
        """A second UI in the same directory, of the same home; its pane."""
        session = self.session
        how = session.ui.set_up(session.home, session.cwd, session.base)
        env = {**environment(session.home), **how.env}
        pane = session.server.start("second", [str(session.ui.package.path), *how.args], env, session.cwd)
        time.sleep(6)
        session.server.still(pane, quiet=2.0)
        return pane


Run = Callable[[Trial, Case, int], None]


def _report(out: str, err: str, status: int, began: float) -> dict[str, Any]:
    """What a sender that has ended just now has said, its exit status, and the seconds that it took."""
    said: dict[str, Any] = {"verdict": f"none: {err[-300:]}", "channel": "none", "reason": ""}
    with contextlib.suppress(ValueError):
        said = json.loads(out)
    return said | {"status": status, "began": began, "took": time.time() - began}


def mark_of(text: str) -> str:
    """The marker that a text carries."""
    return str(MARKER.findall(text)[0])


def faults(trial: Trial, case: Case) -> list[str]:
    """Verdicts that say something else than what the model's log says."""
    wrong = []
    for text, report in case.sent:
        times = trial.arrived(mark_of(text))
        honest = times == 1 if report["status"] == 0 else times <= 1 if report["status"] == 76 else times == 0
        if not honest:
            wrong.append(f"{report['verdict']} but {times} times")
    return wrong


def row(trial: Trial, case: Case) -> dict[str, Any]:
    """The result of a case, as it is kept."""
    once = [text for text, _ in case.sent if trial.arrived(mark_of(text)) == 1]
    took = sorted(
        trial.when(mark_of(text)) - one["began"] for text, one in case.sent if trial.when(mark_of(text)) > one["began"]
    )
    return {
        "ui": trial.session.ui.name,
        "version": trial.session.ui.package.version,
        "case": case.name,
        "sent": len(case.sent),
        "once": len(once),
        "whole": sum(trial.whole(mark_of(text), text) for text in once),
        "ways": dict(Counter(f"{one['verdict']} via {one['channel']}" for _, one in case.sent)),
        "p50_ms": round(1000 * took[len(took) // 2]) if took else None,
        "wrong": faults(trial, case),
        "notes": dict(Counter(case.notes)),
        "reasons": sorted(
            {
                re.sub(r"/\S+", "PATH", reason)[:150]
                for _, one in case.sent
                for reason in [*one.get("passed", []), one["reason"] if one["status"] else ""]
                if reason
            }
        ),
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "load": round(os.getloadavg()[0]),
    }


def line(found: dict[str, Any]) -> str:
    """A row, for people."""
    took = f"p50 {found['p50_ms']} ms" if found["p50_ms"] is not None else "none arrived anew"
    said = f"{found['case']:22} {found['once']}/{found['sent']} once, {found['whole']} whole; {found['ways']}; {took}"
    notes = [f"{words}: {times}" for words, times in found["notes"].items()]
    return (
        said
        + "".join(f"\n    ! {one}" for one in [*found["wrong"], *notes])
        + "".join(f"\n    . {one}" for one in found["reasons"])
    )


def ready_for_channels(name: str) -> UI:
    """The UI, installed, with what its channel needs in its home."""
    ui = UIS[name]
    ui.package.install()

    def set_up(home: Path, cwd: Path, base: str) -> Start:
        start = ui.set_up(home, cwd, base)
        if ui.name in channels.agents():
            channels.setup_of(ui.name, {"HOME": str(home)}).write()
        return start

    return replace(ui, set_up=set_up)
