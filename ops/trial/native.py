"""The trial of `wake`'s channels against a real agent UI and the stand-in model.

    python -m ops.trial.native codex [-n 20] [--only "busy;draft"] [--via auto]

Prints one line a case: of so many messages, how many arrived exactly once and whole, what `wake` said of them and by
which channel, and its milliseconds. The judge is the model's log.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from ops.trial.cases import marker
from ops.trial.sending import ROOT
from ops.trial.sessions import Session
from ops.trial.setups import Start
from ops.trial.uis import UI, UIS
from worker.install import channels

SPECIAL = (
    "/clear @@",
    "!touch stolen @@",
    "@@ $(touch stolen) `touch stolen`",
    "@@ ends in @x",
    "# @@",
    "> @@",
    "@@\n\nexit",
)
STEPS = ("channel.found", "channel.noted")


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

    def argv(self, *more: str) -> list[str]:
        """The transport's command."""
        start = [sys.executable, "-m", "worker.terminal.wake", "-L", self.session.server.name, "-t", self.session.name]
        return [*start, "--json", "--via", self.via, *more]

    def wake(self, text: str, *more: str, key: str = "", step: str = "") -> dict[str, Any]:
        """One call; its report, with `status` and the `seconds` until the model had it."""
        environment = self.environment(key or uuid.uuid4().hex) | ({"BUS_WATCH_FAULT_STEP": step} if step else {})
        began = time.time()
        done = subprocess.run(
            self.argv(*more), input=text, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
        )
        said: dict[str, Any] = {"verdict": f"none: {done.stderr[-300:]}", "channel": "none", "reason": ""}
        with contextlib.suppress(ValueError):
            said = json.loads(done.stdout)
        return said | {"status": done.returncode, "began": began, "took": time.time() - began}

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

    def wait(self, marks: list[str], limit: float = 20.0) -> None:
        """Wait until all have arrived, and a moment longer for a second time of one."""
        end = time.monotonic() + limit
        while time.monotonic() < end and not all(self.arrived(one) for one in marks):
            time.sleep(0.1)
        time.sleep(1.0)

    def idle(self) -> None:
        """Wait until the UI stands still."""
        self.session.server.still(self.session.pane, quiet=0.8, limit=30)


Run = Callable[[Trial, Case, int], None]


def simple(make: Callable[[int], str]) -> Run:
    """Messages to an idle agent."""

    def run(trial: Trial, case: Case, count: int) -> None:
        for number in range(count):
            mark = marker()
            text = make(number).replace("@@", mark)
            case.sent.append((text, trial.wake(text)))
            trial.wait([mark], 10)

    return run


def busy(trial: Trial, case: Case, count: int) -> None:
    """Three messages while a turn runs that the first of them began."""
    for _ in range(max(1, count // 4)):
        texts = [f"slow3 {marker()}", *(f"behind {number} {marker()}" for number in range(3))]
        case.sent += [(text, trial.wake(text)) for text in texts]
        trial.wait([_mark(text) for text in texts], 30)
        trial.idle()


def burst(trial: Trial, case: Case, count: int) -> None:
    """Sixty from six senders."""
    del count
    texts = [f"burst {number} {marker()}" for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        case.sent += list(zip(texts, pool.map(lambda one: trial.wake(one, "--timeout", "60"), texts), strict=True))
    trial.wait([_mark(text) for text in texts], 60)
    trial.idle()


def draft(trial: Trial, case: Case, count: int) -> None:
    """A person's half line stands in the box."""
    server, pane = trial.session.server, trial.session.pane
    for number in range(count):
        words = f"half a line {number}"
        server.type(pane, words)
        trial.idle()
        text = f"hello {marker()}"
        case.sent.append((text, trial.wake(text)))
        trial.wait([_mark(text)], 10)
        trial.idle()
        if words not in server.screen(pane).text:
            case.notes.append(f"draft {number} is gone")
        trial.session.clear_draft()


def dialog(answer: str) -> Run:
    """A message while the UI asks whether a command may run; then somebody answers."""

    def run(trial: Trial, case: Case, count: int) -> None:
        session = trial.session
        for _ in range(max(1, count // 4)):
            asking = f"toolcall {marker()}"
            session.server.paste(session.pane, asking)
            time.sleep(0.5)
            session.server.keys(session.pane, "Enter")
            trial.wait([_mark(asking)], 10)
            trial.idle()
            before = session.server.screen(session.pane).text
            text = f"hello {marker()}"
            case.sent.append((text, trial.wake(text)))
            time.sleep(1.0)
            if session.approved:
                case.notes.append("the dialog was answered")
            if _plain(before)[-300:] != _plain(session.server.screen(session.pane).text)[-300:]:
                case.notes.append("the screen changed while the dialog was open")
            session.server.keys(
                session.pane,
                *{"yes": ("Enter",), "no": ("4",) if session.ui.name == "claude" else ("n",), "esc": ("Escape",)}[
                    answer
                ],
            )
            trial.wait([_mark(text)], 12)
            (session.cwd / "approved").unlink(missing_ok=True)
            trial.idle()
            if not trial.arrived(_mark(text)):  # what an interrupted turn holds back goes with the next one
                nudge = f"and now {marker()}"
                session.server.paste(session.pane, nudge)
                time.sleep(0.5)
                session.server.keys(session.pane, "Enter")
                trial.wait([_mark(text)], 12)
                case.notes.append("it waited for the person's next turn")
            trial.idle()

    return run


def killed(trial: Trial, case: Case, count: int) -> None:
    """The sender is killed at a step or a moment, and the message is sent again under the same key."""
    for number in range(max(10, count)):
        text, key = f"killed {number} {marker()}", uuid.uuid4().hex
        if number < len(STEPS):
            trial.wake(text, key=key, step=f"worker.{STEPS[number]}")
        else:
            process = subprocess.Popen(
                trial.argv(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT, env=trial.environment(key)
            )
            assert process.stdin is not None
            process.stdin.write(text.encode())
            process.stdin.close()
            time.sleep(0.15 + 0.5 * random.random())
            process.send_signal(signal.SIGKILL)
            process.wait()
        case.sent.append((text, trial.wake(text, key=key)))
        trial.wait([_mark(text)], 10)


def twice(trial: Trial, case: Case, count: int) -> None:
    """The same message again, when it has arrived."""
    for _ in range(count):
        text, key = f"twice {marker()}", uuid.uuid4().hex
        trial.wake(text, key=key)
        trial.wait([_mark(text)], 10)
        case.sent.append((text, trial.wake(text, key=key)))
        time.sleep(0.5)


def ended(trial: Trial, case: Case, count: int) -> None:
    """The UI has ended: nothing may be lost without a word. It is started again, and the message is sent again."""
    del count
    session = trial.session
    text, key = f"ended {marker()}", uuid.uuid4().hex
    session.server.run("respawn-pane", "-k", "-t", session.pane, "--", "sleep", "600")
    time.sleep(1.0)
    case.notes.append("after its end: " + str(trial.wake(text, key=key)["verdict"]))
    session.again()
    session.ready()
    case.sent.append((text, trial.wake(text, key=key)))
    trial.wait([_mark(text)], 10)


def two(trial: Trial, case: Case, count: int) -> None:
    """A second UI in the same directory, of the same home: each message must reach the pane that was meant."""
    session = trial.session
    first = session.pane
    how = session.ui.set_up(session.home, session.cwd, session.base)
    from ops.trial.installing import environment  # noqa: PLC0415 - only here

    env = {**environment(session.home), **how.env}
    second = session.server.start("second", [str(session.ui.package.path), *how.args], env, session.cwd)
    time.sleep(6)
    session.server.still(second, quiet=2.0)
    for _ in range(max(2, count // 4)):
        for pane in ("agent", "second"):
            text = f"for {pane} {marker()}"
            session.name = pane
            case.sent.append((text, trial.wake(text)))
            session.name = "agent"
            trial.wait([_mark(text)], 10)
            there = _mark(text) in _plain(session.server.screen(first if pane == "agent" else second).text)
            if not there:
                case.notes.append(f"not on the screen of {pane}")
    session.server.run("kill-session", "-t", "second")


CASES: dict[str, Run] = {
    "short": simple(lambda number: f"hello {number} @@"),
    "5 lines": simple(lambda number: f"one {number} @@\ntwo\n\n\tfour\nfive"),
    "8 KB": simple(lambda _: "@@ " + "word " * 1640),
    "100 KB": simple(lambda _: "@@ " + "word " * 20000),
    "specials": simple(lambda number: SPECIAL[number % len(SPECIAL)]),
    "busy": busy,
    "burst of 60": burst,
    "draft": draft,
    "dialog, yes": dialog("yes"),
    "dialog, no": dialog("no"),
    "dialog, Esc": dialog("esc"),
    "sent twice": twice,
    "sender killed": killed,
    "two in a directory": two,
    "ended": ended,
}


def _mark(text: str) -> str:
    from ops.trial.model import MARKER  # noqa: PLC0415 - as the cases name it

    return str(MARKER.findall(text)[0])


def _plain(screen: str) -> str:
    from ops.trial.sessions import SGR  # noqa: PLC0415 - the same

    return SGR.sub("", screen)


def told(trial: Trial, case: Case) -> str:
    """The line about a case."""
    once = whole = 0
    wrong = []
    for text, report in case.sent:
        times = trial.arrived(_mark(text))
        once += times == 1
        whole += trial.whole(_mark(text), text)
        honest = times == 1 if report["status"] == 0 else times <= 1 if report["status"] == 76 else times == 0
        if not honest:
            wrong.append(f"{report['verdict']} but {times} times")
    ways = Counter(f"{one['verdict']} via {one['channel']}" for _, one in case.sent)
    times_ = [trial.when(_mark(text)) - one["began"] for text, one in case.sent if trial.when(_mark(text))]
    reasons = {
        reason for _, one in case.sent for reason in [*one.get("passed", []), one["reason"] if one["status"] else ""]
    }
    line = f"{case.name:20} {once}/{len(case.sent)} once, {whole} whole; {dict(ways)}; "
    line += f"p50 {1000 * median(times_):.0f} ms" if times_ else "none arrived"
    return (
        line
        + "".join(f"\n    ! {one}" for one in [*wrong, *case.notes])
        + "".join(f"\n    . {one[:150]}" for one in sorted(filter(None, reasons)))
    )


def _prepared(ui: UI) -> Callable[[Path, Path, str], Start]:
    """Its set-up with what its channel needs."""

    def set_up(home: Path, cwd: Path, base: str) -> Start:
        if ui.name in channels.agents():
            channels.write(channels.setup_of(ui.name, {"HOME": str(home)}))
        return ui.set_up(home, cwd, base)

    return set_up


def main() -> int:
    """Run the cases of one UI."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ui", choices=sorted(UIS))
    parser.add_argument("-n", type=int, default=20, help="messages a case (%(default)s)")
    parser.add_argument("--only", default="", help="cases, by semicolon")
    parser.add_argument("--via", default="auto")
    options = parser.parse_args()
    ui = UIS[options.ui]
    ui.package.install()
    ui = replace(ui, set_up=_prepared(ui))
    with Session(ui) as session:
        session.ready(300)  # with a plugin OpenCode fetches a package of its own at its first start
        trial = Trial(session, options.via)
        for name, run in CASES.items():
            if options.only and name not in options.only.split(";"):
                continue
            case = Case(name)
            try:
                run(trial, case, options.n)
            except Exception as why:  # noqa: BLE001 - the other cases are wanted, too
                case.notes.append(f"the case failed: {type(why).__name__}: {why}")
            print(told(trial, case), flush=True)
        if (session.cwd / "stolen").exists() or (Path.cwd() / "stolen").exists():
            print("! a text ran as a command")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
