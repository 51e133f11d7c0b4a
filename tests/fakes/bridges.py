"""Fake bridges of the three generations: their true protocol over HTTP/1.0, with faults on request.

In a test:

    with FakeBridge("A") as bridge:
        token = bridge.add_token("bob")
        bridge.streams.add("bob", "hello")

As a process: `python -m tests.fakes.bridges --generation A --port 0 [--token bob=SECRET[@PROJECT]]...` prints
`listening on http://127.0.0.1:PORT` and is steered by JSON posted to it:

- `/_control/fault` {kind, path, times, value}; `/_control/clear` {}
- `/_control/token` {token, agent, project}
- `/_control/add` {agent, text, source, project, ms, raw, count, extra}; `{n}` in text: the number of the copy
- `/_control/drop_watchers` {}
- `GET /_control/requests` lists what came in.
"""

import argparse
import itertools
import json
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from tests.fakes.faults import answer_json
from tests.fakes.serving import FakeBus, FakeHandler, RefusalError, Token
from tests.fakes.streams import GENERATIONS, NOT_GIVEN, Generation, Id, Streams, stream_of

_SINCE = re.compile(r"(\d+)-(\d+)")


class FakeBridge(FakeBus):
    """One bridge on a loopback port of its own, with streams of its own."""

    def __init__(
        self,
        generation: Generation,
        *,
        port: int = 0,
        keepalive: float = 15.0,
        streams: Streams | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.streams = streams or Streams(clock)
        super().__init__(_Handler, port=port, clock=clock, changed=self.streams.lock)
        self.generation: Generation = generation
        self.keepalive = keepalive
        self.registry: dict[str, dict[str, Any]] = {}


class _Handler(FakeHandler):
    server: FakeBridge

    def _has(self, path: str) -> bool:
        return path != "/watch" or self.server.generation != "A"

    def _bad_request(self) -> None:
        # A lets the exception close the connection; the later ones catch it.
        if self.server.generation != "A":
            super()._bad_request()

    def _token(self) -> Token:
        header = self.headers.get("Authorization", "")
        token = self.server.tokens.get(header.removeprefix("Bearer ")) if header.startswith("Bearer ") else None
        if token is None:
            raise RefusalError(401, "Invalid token")
        return token

    def _caller(self, claimed: Any) -> Token:
        token = self._token()
        if not token.agent:
            raise RefusalError(403, "malformed_token_record")
        if claimed != token.agent:
            raise RefusalError(403, "identity_binding_mismatch")
        return token

    def _not_found(self, fields: dict[str, Any]) -> None:
        self._token()
        raise RefusalError(404, "Not found")

    def _get_health(self, query: dict[str, str]) -> None:
        answer_json(self, 200, {"status": "ok", "redis": "connected"})

    def _get_inbox(self, query: dict[str, str]) -> None:
        token = self._caller(query.get("agent"))
        limit = int(query.get("limit", "10"))
        project = token.project or query.get("project")
        match = _SINCE.fullmatch(query.get("since", ""))
        since: Id | None = (int(match[1]), int(match[2])) if match else None
        generation = self.server.generation
        page = self.server.streams.page(generation, token.agent, project, limit, since)
        messages = [entry.item(generation, token.agent) for entry in page]
        answer_json(self, 200, {"agent": token.agent, "project": project, "messages": messages})

    def _get_peers(self, query: dict[str, str]) -> None:
        token = self._token()
        lengths = self.server.streams.lengths()
        answer_json(
            self,
            200,
            {
                "project": token.project or query.get("project"),
                "registered": list(self.server.registry.values()),
                "streams": [{"agent": agent, "messages": count} for agent, count in lengths.items()],
            },
        )

    def _get_watch(self, query: dict[str, str]) -> None:
        token = self._caller(query.get("agent"))
        project = token.project or query.get("project")
        streams = self.server.streams
        seen = [len(entries) for entries in streams.merged(token.agent, project)]
        epoch = self.server.watch_epoch
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b": connected\n\n")
        self.wfile.flush()
        while not self.server.stopping.is_set():
            with streams.lock:
                fresh = streams.merged(token.agent, project)
                if [len(entries) for entries in fresh] == seen and epoch == self.server.watch_epoch:
                    streams.lock.wait(self.server.keepalive)
                    fresh = streams.merged(token.agent, project)
                if self.server.watch_epoch != epoch:
                    return
            news = list(itertools.chain(*(entries[old:] for entries, old in zip(fresh, seen, strict=True))))
            seen = [len(entries) for entries in fresh]
            for entry in news[-20:]:
                frame = json.dumps(entry.item(self.server.generation, token.agent))
                self.wfile.write(f"data: {frame}\n\n".encode())
            if not news:
                self.wfile.write(b": keepalive\n\n")
            self.wfile.flush()

    def _post_send(self, body: dict[str, Any]) -> None:
        token = self._caller(body.get("from"))
        to, text = body.get("to"), body.get("text")
        if not isinstance(to, str) or not to or not isinstance(text, str) or not text:
            raise RefusalError(400, "Missing 'to' or 'text'")
        if len(text) > 16_384:
            raise RefusalError(400, "text_too_long")
        project = token.project or body.get("project")
        new = self.server.streams.add(to, text, source=f"agent:{token.agent}", project=project)
        answer_json(
            self,
            200,
            {
                "ok": True,
                "status": "queued",
                "message_id": secrets.token_hex(16),
                "stream": stream_of(to, project),
                "entry_id": f"{new[0]}-{new[1]}",
                "project": project,
            },
        )

    def _post_announce(self, body: dict[str, Any]) -> None:
        token = self._caller(body.get("agent"))
        self.server.registry[token.agent] = {
            "name": token.agent,
            "tool": body.get("tool", "remote"),
            "summary": body.get("summary", ""),
            "last_seen": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        answer_json(self, 200, {"status": "announced", "agent": token.agent, "project": token.project})

    def _post_heartbeat(self, body: dict[str, Any]) -> None:
        token = self._caller(body.get("agent"))
        if token.agent in self.server.registry:
            self.server.clear_faults("coherence")
        answer_json(self, 200, {"status": "ok"})

    def _control(self, command: str, body: dict[str, Any]) -> Any:
        server = self.server
        if command == "requests":
            return [asdict(request) for request in server.requests]
        if command == "fault":
            server.fault(**body)
        elif command == "clear":
            server.clear_faults()
        elif command == "token":
            return {"token": server.add_token(body["agent"], body.get("project"), body.get("token"))}
        elif command == "drop_watchers":
            server.drop_watchers()
        elif command == "add":
            return {"ids": [self._control_add(body, number) for number in range(body.get("count", 1))]}
        else:
            return {"error": "no such command"}
        return {"ok": True}

    def _control_add(self, body: dict[str, Any], number: int) -> str:
        text = body.get("text")
        if isinstance(text, str):
            text = text.replace("{n}", str(number))
        ms, seq = self.server.streams.add(
            body["agent"],
            text,
            source=body.get("source", "agent:alice"),
            project=body.get("project"),
            ms=body.get("ms"),
            raw=body.get("raw", NOT_GIVEN),
            **body.get("extra", {}),
        )
        return f"{ms}-{seq}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="a fake bridge")
    parser.add_argument("--generation", choices=GENERATIONS, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keepalive", type=float, default=15.0)
    parser.add_argument("--token", action="append", default=[], metavar="AGENT=TOKEN[@PROJECT]")
    args = parser.parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with FakeBridge(cast(Generation, args.generation), port=args.port, keepalive=args.keepalive) as bridge:
        for given in args.token:
            agent, _, rest = given.partition("=")
            token, _, project = rest.partition("@")
            bridge.add_token(agent, project or None, token)
        print(f"listening on {bridge.url}", flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
