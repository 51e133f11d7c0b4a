"""A ledger with a delivery in every state, and `bus-watch` run in this process on it."""

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from worker import __version__
from worker.bus.wire import InboxMessage
from worker.cli.main import main
from worker.configuration import load
from worker.delivery import Ending, RetryPolicy
from worker.ledger import claims, intake, lanes, operate, settling, upkeep
from worker.ledger.claims import Claim
from worker.ledger.groups import LaneSettings
from worker.ledger.operate import Chosen
from worker.ledger.sqlite import SqliteLedger
from worker.settings import Settings
from worker.transports.locks import hold_lock

MS = 1_795_300_087_770
STREAM = "sos:stream:global:agent:bob"
ENDINGS: dict[str, Ending | None] = {
    "does": Ending("exit", 0),
    "retries": Ending("exit", 1, "can't find pane"),
    "holds": Ending("exit", 76),
    "dies": Ending("exit", 65, "no such pane"),
    "breaks": Ending("exit", 69, "no server running"),
    "runs": None,
    "pauses": None,
    "orphan": None,
    "drops": None,
}


@dataclass
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """A configuration and its ledger: message 0 came by every transport, message 1 lies behind it."""

    config: Path
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Said:
        """Our own exits and argparse's alike, as an exit status."""
        self.capture.readouterr()
        try:
            status = main([*arguments, "--config", str(self.config)] if "--config" not in arguments else arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        said = self.capture.readouterr()
        return Said(status, said.out, said.err)

    @property
    def ledger(self) -> Path:
        return load(self.config).ledger_file

    def join(self, url: str, **keys: object) -> Settings:
        """From now on the ledger is in this server, and the configuration has these keys."""
        url_file = self.config.with_name("url")
        url_file.write_text(url)
        url_file.chmod(0o600)
        self.config.write_text(
            json.dumps(json.loads(self.config.read_text()) | {"ledger_url_file": str(url_file)} | keys)
        )
        settings = load(self.config)
        settings.files_dir.mkdir(mode=0o700)
        return settings


@pytest.fixture
def empty_desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in [name for name in os.environ if name.startswith("BUS_WATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "bus-watch.json"
    config.write_text(
        json.dumps(
            {
                "agent": "bob",
                "token_env": "NO_SUCH_TOKEN",
                "bridge_url": "http://127.0.0.1:9",
                "state_path": str(tmp_path / "state.json"),
                "allowlist": ["/bin/true"],
                "transports": [{"name": n, "command": ["/bin/true"]} for n in ENDINGS if n != "orphan"],
            }
        )
    )
    config.chmod(0o600)
    return Desk(config, capsys)


@pytest.fixture
def desk(empty_desk: Desk) -> Iterator[Desk]:
    settings = load(empty_desk.config)
    settings.files_dir.mkdir(mode=0o700)
    lock = hold_lock(settings.files_dir / "w.lock")  # the worker of the running delivery lives
    database = SqliteLedger(settings.ledger_file)
    now = time.time()

    def fill(tx: Any) -> None:
        upkeep.register_worker(tx, "w", pid=os.getpid(), boot_id="b", version=__version__, kind="consumer", now=now)
        intake.ensure_inbox(tx, "bob", 0)
        messages = [
            InboxMessage(STREAM, f"{MS + n}-0", MS + n, 0, "agent:alice", f"text {n}\x1b[2J", None, None, None)
            for n in range(2)
        ]
        intake.take_in(tx, "bob", messages, lambda _: (None, list(ENDINGS)), now)
        lanes.set_paused(tx, "pauses", None, paused=True)
        for lane, transport in tx.execute("select id, transport from lanes").fetchall():
            _go(tx, lane, transport, now)
        first = operate.find_message(tx, f"bob/{MS}-0")
        operate.drop(tx, first, Chosen("drops"), now)

    database.write(fill)
    database.close()
    yield empty_desk
    os.close(lock)


def _go(tx: Any, lane: int, transport: str, now: float) -> None:
    ending = ENDINGS[transport]
    if ending is None and transport != "runs":
        return
    policy = RetryPolicy(retry_delay=3000, retry_max_delay=3000, on_unknown="hold")
    try_head(tx, lane, ending, now, policy=policy, output="last words\x1b[31m")


def try_head(
    tx: Any, lane: int, ending: Ending | None, now: float, *, policy: RetryPolicy | None = None, output: str = ""
) -> None:
    """Claim what comes first in a lane, and settle it with this ending; None: it runs on."""
    head = lanes.candidate(tx, lane, ordered=True, now=now)
    assert head is not None
    attempt = claims.new_attempt_id(now)
    claim = claims.claim(
        tx,
        claims.this(head.delivery),
        attempt_id=attempt,
        worker="w",
        boot_id="b",
        settings=lambda *_: LaneSettings(),
        now=now,
    )
    assert isinstance(claim, Claim)
    if ending is not None:
        rules = policy or RetryPolicy()
        settling.settle(tx, head.delivery, attempt, ending, rules, now=now, rng=random.Random(1), output=output)
