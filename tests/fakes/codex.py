"""A stand-in for Codex: `codex app-server` on standard input and output, and the app that has a thread open.

Requests, answers, errors, file names and records are what codex-cli 0.169.0 said and wrote when it was run with two
app-servers on one CODEX_HOME, one that had the thread loaded (as the desktop app's does) and one that queued for it.
"""

import fcntl
import json
import sys
import uuid
from pathlib import Path
from typing import IO, Any

SERVER = f"""#!{sys.executable}
import json, os, pathlib, sys, uuid
home = pathlib.Path(os.environ["CODEX_HOME"])
stored = home / "queue.json"
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    mode = (home / "mode").read_text() if (home / "mode").exists() else ""
    params, method, items = message["params"], message["method"], json.loads(stored.read_text())
    answer = {{"result": {{}}}}
    if method == "initialize":
        assert params["capabilities"]["experimentalApi"] is True
        answer["result"] = {{"userAgent": "bus_watch/0.169.0", "codexHome": str(home)}}
        print(json.dumps({{"method": "remoteControl/status/changed", "params": {{}}}}), flush=True)
    elif mode == "overloaded":
        answer = {{"error": {{"code": -32001, "message": "Server overloaded; retry later."}}}}
    elif method == "thread/queue/list":
        answer["result"] = {{"data": items, "nextCursor": None}}
    elif method == "thread/queue/add":
        if mode == "dies":
            sys.exit(1)
        item = {{"id": str(uuid.uuid4()), **{{name: params[name] for name in ("input", "clientUserMessageId")}}}}
        stored.write_text(json.dumps([*items, item]))
        answer["result"] = {{"queuedSubmission": item}}
    elif method == "thread/queue/delete":
        kept = [item for item in items if item["id"] != params["queuedSubmissionId"]]
        stored.write_text(json.dumps(kept))
        answer["result"] = {{"deleted": len(kept) < len(items)}}
    print(json.dumps({{"id": message["id"], **answer}}), flush=True)
"""


class CodexApp:
    """A CODEX_HOME with one thread; open it, and let it take from its queue."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.thread = str(uuid.uuid4())
        self._lock: IO[bytes] | None = None
        sessions = home / "sessions" / "2026" / "11" / "22"
        sessions.mkdir(parents=True)
        (home / "thread-writer-locks").mkdir()
        self._rollout = sessions / f"rollout-2026-11-22T01-58-47-{self.thread}.jsonl"
        self._rollout.touch()
        self._queue = home / "queue.json"
        self._queue.write_text("[]")
        self.codex = home / "codex"
        self.codex.write_text(SERVER)
        self.codex.chmod(0o755)
        self.turns: list[str] = []

    def open(self) -> None:
        """Load the thread, as the app does when a person opens it."""
        self._lock = (self.home / "thread-writer-locks" / f"{self.thread}.lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Quit, as a crash would: the lock is gone, its file stays."""
        if self._lock is not None:
            self._lock.close()

    def mode(self, word: str) -> None:
        """Let the app-server answer `overloaded`, or end (`dies`) when something is added."""
        (self.home / "mode").write_text(word)

    @property
    def queued(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._queue.read_text() or "[]")
        return found

    def begin_turn(self) -> None:
        """A turn of the person's own begins."""
        self._record({"type": "task_started", "turn_id": "t"})

    def end_turn(self) -> None:
        self._record({"type": "task_complete", "turn_id": "t"})

    def take(self, *, record: bool = True) -> bool:
        """Take the head of the queue and run its turn, as the app does when it is idle."""
        items = self.queued
        if not items:
            return False
        self._queue.write_text(json.dumps(items[1:]))
        if record:
            content = items[0]["input"]
            self.turns.append(content[0]["text"])
            self.begin_turn()
            item = {"type": "UserMessage", "client_id": items[0]["clientUserMessageId"], "content": content}
            self._record({"type": "item_completed", "thread_id": self.thread, "item": item})
            self.end_turn()
        return True

    def _record(self, payload: dict[str, object]) -> None:
        with self._rollout.open("a") as file:
            file.write(
                json.dumps({"timestamp": "2026-11-22T01:58:56Z", "type": "event_msg", "payload": payload}) + "\n"
            )
