"""A stand-in for mupot: the addresses, words and numbers of its inbox, read in its source (0.30.0, commit 66d857b4).

`src/agents/inbox-routes.ts`, `src/agents/messages.ts` and the tools of `src/mcp/index.ts`:

- `GET /api/inbox?peek=1&limit=N`: the oldest unread messages, a hundred at most; without `peek` they are read by that.
- `GET /api/inbox/stream?since=SEQ&poll_ms=N`: server-sent events; the first is `initial`, if anything is unread.
- `POST /mcp {"tool": NAME, "args": {...}}`: `inbox`, `inbox_lease` (300 s; after five hand-outs a message is parked),
  `inbox_ack` (100 ids, idempotent), `send` (idempotent by its sender's `request_id`), `peers`.
- `POST /api/inbox/send`, of 8 KB at most.

A peek shows what is leased or parked, too. Agents have ids, and slugs by which they are written to as well.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.fakes.faults import Fault, answer_json, misbehave
from tests.fakes.serving import FakeBus, FakeHandler, RefusalError, Token
from tests.fakes.streams import NOT_GIVEN, Id

PAGE = 100
MOST_UNREAD = 1000
MOST_ATTEMPTS = 5
LEASE_SECONDS = 300
LONGEST_BODY = 8000
LARGEST_SEND = 8192
LARGEST_CALL = 64 * 1024


@dataclass
class Letter:
    """One row of `agent_messages`; times in epoch seconds. `raw`, if given, is what is shown instead."""

    seq: int
    id: str
    to_agent: str
    from_agent: Any
    kind: str
    body: Any
    request_id: str | None
    in_reply_to: str | None
    created_at: str
    project_id: str | None
    raw: Any = NOT_GIVEN
    read_at: float | None = None
    leased_until: float | None = None
    attempts: int = 0
    parked: bool = False

    def item(self) -> Any:
        if self.raw is not NOT_GIVEN:
            return self.raw
        shown = ("seq", "id", "from_agent", "kind", "body", "request_id", "in_reply_to", "created_at", "project_id")
        return {name: getattr(self, name) for name in shown} | {"from_member": "m-1", "target_seat": None}


def id_of(slug: str) -> str:
    """The id of an agent; an id is its own."""
    try:
        return str(uuid.UUID(slug))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, slug))


class Letters:
    """What a pot's database holds of messages. `seq` counts through the whole pot, and never comes again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.lock = threading.Condition()
        self.rows: list[Letter] = []
        self.next_seq = 1

    def add(
        self,
        agent: str,
        text: Any,
        *,
        source: Any = "agent:alice",
        project: str | None = None,
        ms: int | None = None,
        raw: Any = NOT_GIVEN,
        kind: str = "message",
        request_id: str | None = None,
        in_reply_to: str | None = None,
    ) -> Id:
        """Leave a message for an agent, written at `ms` (default now); returns what our ledger calls it."""
        with self.lock:
            written = int(self.clock() * 1000) if ms is None else ms
            moment = datetime.fromtimestamp(written // 1000, UTC).replace(microsecond=written % 1000 * 1000)
            row = Letter(
                seq=self.next_seq,
                id=str(uuid.uuid4()),
                to_agent=id_of(agent),
                from_agent=id_of(source.removeprefix("agent:")) if isinstance(source, str) else source,
                kind=kind,
                body=text,
                request_id=request_id,
                in_reply_to=in_reply_to,
                created_at=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                project_id=project,
                raw=raw,
            )
            self.next_seq += 1
            self.rows.append(row)
            self.lock.notify_all()
        return written, row.seq

    def unread(self, agent: str, after: int = 0) -> list[Letter]:
        """Oldest first; also what is leased, or parked."""
        with self.lock:
            return [
                row for row in self.rows if row.to_agent == id_of(agent) and row.read_at is None and row.seq > after
            ]

    def consume(self, agent: str, limit: int) -> list[Letter]:
        """Hand the oldest out, and count them as read."""
        with self.lock:
            found = self.unread(agent)[:limit]
            for row in found:
                row.read_at = self.clock()
            return found

    def lease(self, agent: str, limit: int = 20, seconds: float = LEASE_SECONDS) -> list[Letter]:
        """Hand the oldest out that nobody has, and hide them from other leases for so long."""
        with self.lock:
            now = self.clock()
            free = [
                row
                for row in self.unread(agent)
                if not row.parked and (row.leased_until is None or row.leased_until <= now)
            ]
            for row in free:
                row.parked = row.attempts >= MOST_ATTEMPTS
            found = [row for row in free if not row.parked][:limit]
            for row in found:
                row.attempts += 1
                row.leased_until = now + seconds
            return found

    def ack(self, agent: str, ids: list[str]) -> dict[str, list[str]]:
        """Count these as read."""
        with self.lock:
            mine = {row.id: row for row in self.rows if row.to_agent == id_of(agent)}
            wanted = list(dict.fromkeys(ids))
            acked = [one for one in wanted if one in mine and mine[one].read_at is None]
            for one in acked:
                mine[one].read_at, mine[one].leased_until = self.clock(), None
            rest = [one for one in wanted if one not in acked]
            return {
                "acked": acked,
                "already_read": [one for one in rest if one in mine],
                "refused": [one for one in rest if one not in mine],
            }


class FakePot(FakeBus):
    """One pot on a loopback port of its own."""

    kind = "mupot"
    inbox_path = "/api/inbox"
    watch_path = "/api/inbox/stream"

    def __init__(
        self, *, port: int = 0, streams: Letters | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.streams = streams or Letters(clock)
        super().__init__(_Handler, port=port, clock=clock, changed=self.streams.lock)
        self.fenced: set[str] = set()  # ids whose inbox only a signed consumer may read
        self.lost_answers: list[Fault] = []  # what comes instead of the answers to the next calls of `send`
        self.consumed = 0  # messages that went to whoever asked without `peek`

    @property
    def agents(self) -> dict[str, str]:
        """Slugs by id."""
        return {id_of(token.agent): token.agent for token in self.tokens.values()}


class _Handler(FakeHandler):
    server: FakePot

    def _bad_request(self) -> None:
        answer_json(self, 400, {"error": "invalid_json"})

    def _caller(self) -> Token:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        token = self.server.tokens.get(given.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise RefusalError(401, "unauthorized")
        if not token.agent:
            raise RefusalError(403, "not_agent_bound")
        return token

    def _reader(self) -> str:
        agent = self._caller().agent
        if id_of(agent) in self.server.fenced:
            raise RefusalError(409, "consumer_fenced")
        return agent

    def _read(self, agent: str, limit: float, *, peek: bool) -> dict[str, Any]:
        limit = min(PAGE, max(1, int(limit)))
        with self.server.streams.lock:
            rows = self.server.streams.unread(agent)[:limit] if peek else self.server.streams.consume(agent, limit)
            self.server.consumed += 0 if peek else len(rows)
            remaining = len(self.server.streams.unread(agent))
        return {"messages": [row.item() for row in rows], "remaining": remaining, "consumed": not peek}

    def _get_health(self, query: dict[str, str]) -> None:
        answer_json(self, 200, {"ok": True})

    def _get_api_inbox(self, query: dict[str, str]) -> None:
        agent = self._reader()
        try:
            limit = float(query.get("limit", "20"))
        except ValueError:
            raise RefusalError(400, "invalid_limit") from None
        answer_json(self, 200, {"ok": True} | self._read(agent, limit, peek=query.get("peek") in {"1", "true"}))

    def _get_api_inbox_stream(self, query: dict[str, str]) -> None:
        agent, server = self._caller().agent, self.server
        try:
            since, poll_ms = int(float(query.get("since", "0"))), float(query.get("poll_ms", "1000"))
        except ValueError:
            raise RefusalError(400, "invalid_since") from None
        epoch = server.watch_epoch
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        fresh = self._unread_after(agent, since)
        if fresh:
            since = fresh[-1].seq
            self._event({"type": "initial", "since": since, "messages": [row.item() for row in fresh]})
        while not server.stopping.wait(min(30.0, max(0.25, poll_ms / 1000))) and server.watch_epoch == epoch:
            if self.headers.get("Authorization", "").partition(" ")[2].strip() not in server.tokens:
                return
            fresh = self._unread_after(agent, since)
            for row in fresh:
                since = row.seq
                self._event({"type": "message", "message": row.item()})
            if not fresh:
                self.wfile.write(b": ping\n\n")
            self.wfile.flush()

    def _unread_after(self, agent: str, since: int) -> list[Letter]:
        return [] if id_of(agent) in self.server.fenced else self.server.streams.unread(agent, since)[:PAGE]

    def _event(self, said: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(said, ensure_ascii=False)}\n\n".encode("utf-8", "replace"))
        self.wfile.flush()

    def _post_api_inbox_send(self, body: dict[str, Any]) -> None:
        token = self._caller()
        if int(self.headers.get("Content-Length", "0")) > LARGEST_SEND:
            raise RefusalError(413, "payload_too_large")
        answer_json(self, 200, {"ok": True} | self._send(token, body))

    def _post_mcp(self, call: dict[str, Any]) -> None:
        if int(self.headers.get("Content-Length", "0")) > LARGEST_CALL:
            raise RefusalError(413, "payload_too_large")
        tool, args = str(call.get("tool")), call.get("args") or {}
        tools: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "inbox": lambda args: self._read(self._reader(), args.get("limit", 20), peek=args.get("peek") is True),
            "inbox_lease": self._lease,
            "inbox_ack": self._ack,
            "send": lambda args: self._send(self._caller(), args),
            "peers": self._peers,
        }
        self._caller()
        if tool not in tools:
            raise RefusalError(400, "unknown_tool", ok=False)
        try:
            result = tools[tool](args)
            if tool == "send" and self.server.lost_answers:
                misbehave(self.server.lost_answers.pop(0), self, self.server)
            else:
                answer_json(self, 200, {"ok": True, "tool": tool, "result": result})
        except RefusalError as refusal:
            refusal.fields |= {"ok": False, "tool": tool}
            raise

    def _lease(self, args: dict[str, Any]) -> dict[str, Any]:
        limit = min(PAGE, max(1, int(args.get("limit", 20))))
        rows = self.server.streams.lease(self._reader(), limit, args.get("lease_seconds", LEASE_SECONDS))
        return {"messages": [row.item() | {"delivery_attempts": row.attempts} for row in rows]}

    def _ack(self, args: dict[str, Any]) -> dict[str, Any]:
        ids = args.get("ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= PAGE or not all(isinstance(one, str) for one in ids):
            raise RefusalError(400, "invalid_ids")
        return dict(self.server.streams.ack(self._reader(), ids))

    def _send(self, token: Token, args: dict[str, Any]) -> dict[str, Any]:
        to, body, name, answers = (args.get(key) for key in ("to", "body", "request_id", "in_reply_to"))
        if any(one is not None and not re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", str(one)) for one in (name, answers)):
            raise RefusalError(400, "invalid_request_id")
        if not isinstance(to, str) or not to or not isinstance(body, str) or not body:
            raise RefusalError(400, "invalid_args")
        if len(body.encode("utf-16-le")) // 2 > LONGEST_BODY:
            raise RefusalError(400, "invalid_body")
        recipient, sender, letters = id_of(to), id_of(token.agent), self.server.streams
        if recipient not in self.server.agents:
            raise RefusalError(404, "send_target_not_visible")
        with letters.lock:
            before = next((r for r in letters.rows if name and (r.from_agent, r.request_id) == (sender, name)), None)
            if before is not None:
                if (before.to_agent, before.body, before.in_reply_to) != (recipient, body, args.get("in_reply_to")):
                    raise RefusalError(409, "request_id_conflict")
                return {"id": before.id, "seq": before.seq, "duplicate": True, "to": recipient}
            if len(letters.unread(to)) >= MOST_UNREAD:
                raise RefusalError(409, "inbox_full")
            letters.add(to, body, source=sender, kind=args.get("kind", "message"), request_id=name, in_reply_to=answers)
            row = letters.rows[-1]
        return {"id": row.id, "seq": row.seq, "duplicate": False, "to": recipient}

    def _peers(self, args: dict[str, Any]) -> dict[str, Any]:
        me = id_of(self._caller().agent)
        listed = [{"id": one, "slug": slug, "is_self": one == me} for one, slug in self.server.agents.items()]
        return {"peers": listed}
