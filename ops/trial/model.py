"""A stand-in for a model on loopback: it answers any agent UI and writes down what was really submitted.

    python -m ops.trial.model --port 18080 --log truth.jsonl

It speaks, streaming and not: OpenAI `/responses` and `/chat/completions`, Anthropic `/messages`, and Gemini
`generateContent` / `streamGenerateContent`. A UI's base URL is `http://127.0.0.1:PORT/t/TAG`, plus `/v1` where the
UI wants it; TAG says in the log who asked.

Two words in what the user says last steer the answer:

* `slowN`: the answer takes N seconds to stream, so the UI is busy;
* `toolcall`: the answer (after `slowN`, if both are there) asks to run a shell command, so the UI opens its
  approval dialog.

A side request, such as for a session's title, is answered with another text each time (`talk 7`): a real model would
not call all of a UI's sessions the same, and the title is how some UIs name a session.

The log has one JSON object a line and request:

    {"at": 1795300087.7,         when it was received, seconds since the epoch
     "tag": "codex-1",
     "path": "/v1/responses",
     "main": true,               tools were offered: not a side request, such as making a title
     "tool_result": false,       it carries what a tool said, not what a person said
     "new": ["..."],             user texts since the model last spoke, one for each content block
     "markers": ["M0a1b2c3dZ"],  every marker in every user text of the whole conversation, in order, repeats kept
     "back": "ok M0a1b2c3dZ",    what the UI gives back as the model's last turn: less than that if it interrupted it
     "files": ["F0a1b2c3dZ"],    every marker of a file that stands anywhere in the request, also where a tool speaks
     "asked": false}             the stand-in answered with a tool call

A text that was submitted twice stands twice in the `markers` of one request, however the UI groups its turns.
"""

import argparse
import gzip
import itertools
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ops.trial.dialects import Answer, Dialect, Json, Said, dialect_of

MARKER = re.compile(r"M[0-9a-f]{8}Z")
FILE = re.compile(r"F[0-9a-f]{8}Z")
"""What the files hold that a text may name: where it stands in a request, the UI has handed the file over."""
SLOW = re.compile(r"\bslow(\d+)\b")
SLOW_STEP = 0.25
"""Seconds between two pieces of a slow answer."""

SHELL_TOOLS: dict[str, Json] = {
    "Bash": {"command": "COMMAND", "description": "trial"},
    "bash": {"command": "COMMAND", "description": "trial"},
    "run_shell_command": {"command": "COMMAND", "description": "trial"},
    "execute_bash": {"command": "COMMAND"},
    # Cline 3.0 stops at the fifth call that is the same as the four before it.
    "run_commands": {"commands": ["COMMAND # NUMBER"], "requires_approval": True},
    "execute_command": {"command": "COMMAND", "requires_approval": True},
    "terminal": {"command": "bash -c 'COMMAND'"},  # Hermes asks about dangerous commands only, and that is one
    "exec_command": {"cmd": "COMMAND", "sandbox_permissions": "require_escalated", "justification": "trial"},
    "shell_command": {"command": "COMMAND", "sandbox_permissions": "require_escalated", "justification": "trial"},
}
"""The shell tool of each UI by name, and what it must be called with so that the UI asks a person first."""


class StandIn(ThreadingHTTPServer):
    """The server. `log` is appended to; `command` is what a tool call asks to run (a template: `{tag}`).

    `tools`: does the UI offer any? One that offers none (aider) answers with a shell block instead.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, log: Path, *, port: int = 0, command: str = "touch approved", tools: bool = True) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._writing = threading.Lock()
        self._talks = itertools.count(1)
        self.command = command
        self.tools = tools

    def base(self, tag: str) -> str:
        """The base URL under which requests are logged as `tag`."""
        return f"http://127.0.0.1:{self.server_port}/t/{tag}"

    def title(self) -> str:
        """What no other side request was answered with."""
        return f"talk {next(self._talks)}"

    def write(self, record: Json) -> None:
        """Append one line to the log."""
        with self._writing:
            self._log.write(json.dumps(record) + "\n")

    def server_close(self) -> None:
        """Stop listening, and close the log."""
        super().server_close()
        self._log.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A UI that hangs up in the middle of an answer is no error: interrupting is what they do."""
        del request, client_address


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Nothing on standard error: the log says it all."""

    def do_HEAD(self) -> None:
        self._send({})

    def do_GET(self) -> None:
        models = {"object": "list", "data": [{"id": "fake", "object": "model"}], "models": []}
        self._send(models if "/models" in self.path else {})

    def do_POST(self) -> None:
        tag, path = self._address()
        body = self._body()
        dialect = dialect_of(path)
        if dialect is None:
            counted = {"input_tokens": 10, "totalTokens": 10} if "ount" in path else {}
            self._send(counted)
            return
        said, tools = dialect.said(body), dialect.tools(body)
        new = _since_model(said)
        result = bool(said) and said[-1].role == "tool"
        main = bool(tools) or not self.server.tools
        answer = self._answer(dialect, body, new if not result else [], tag) if main else self._titled()
        markers = [m for turn in said if turn.role in {"user", "tool"} for p in turn.parts for m in MARKER.findall(p)]
        self.server.write(
            {
                "at": time.time(),
                "tag": tag,
                "path": path,
                "main": main,
                "tool_result": result,
                "new": new,
                "markers": markers,
                "back": next(("\n".join(turn.parts) for turn in reversed(said) if turn.role == "model"), ""),
                "files": sorted(set(FILE.findall(json.dumps(body)))),
                "asked": answer.call is not None,
            }
        )
        if not dialect.streaming(path, body):
            self._send(dialect.whole(body, answer))
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for name, data in dialect.stream(body, answer):
            head = f"event: {name}\n" if name else ""
            text = data if isinstance(data, str) else json.dumps(data)
            self.wfile.write(f"{head}data: {text}\n\n".encode())
            self.wfile.flush()

    def _titled(self) -> Answer:
        return Answer([self.server.title()], 0.0, None)

    def _answer(self, dialect: Dialect, body: Json, new: list[str], tag: str) -> Answer:
        tools = dialect.tools(body)
        said = "\n".join(new)
        slow = max((int(n) for n in SLOW.findall(said)), default=0)
        pieces = ["ok " + " ".join(MARKER.findall(said))[:200]]
        pieces += [f" w{n}" for n in range(int(slow / SLOW_STEP))]
        call = None
        if re.search(r"\btoolcall\b", said):
            command = self.server.command.format(tag=tag)
            if not self.server.tools:
                pieces.append(f"\n\n```bash\n{command}\n```\n")
            elif name := next((t for t in tools if t in SHELL_TOOLS), None):
                takes = dialect.takes(body, name)
                call = (name, {k: _filled(v, command) for k, v in SHELL_TOOLS[name].items() if not takes or k in takes})
        return Answer(pieces, SLOW_STEP if slow else 0.0, call)

    def _address(self) -> tuple[str, str]:
        path = self.path.split("?")[0]
        found = re.match(r"/t/([^/]+)(/.*)$", path)
        return (found[1], found[2]) if found else ("", path)

    def _body(self) -> Json:
        if self.headers.get("transfer-encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        try:
            body = json.loads(data)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def _send(self, content: Json) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _filled(value: Any, command: str) -> Any:
    """An argument of `SHELL_TOOLS` with the command in it."""
    if isinstance(value, list):
        return [_filled(one, command) for one in value]
    return (
        value.replace("COMMAND", command).replace("NUMBER", f"{time.monotonic_ns()}")
        if isinstance(value, str)
        else value
    )


def _since_model(said: list[Said]) -> list[str]:
    """The user's texts after the model's last turn."""
    new: list[str] = []
    for turn in reversed(said):
        if turn.role == "model":
            break
        if turn.role in {"user", "tool"}:
            new[:0] = turn.parts
    return new


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--log", type=Path, default=Path("truth.jsonl"))
    parser.add_argument("--command", default="touch approved", help="what a tool call asks to run")
    args = parser.parse_args()
    with StandIn(args.log, port=args.port, command=args.command) as server:
        print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
