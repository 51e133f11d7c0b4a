"""Requests and answers in JSON over a WebSocket, as Codex's app-server speaks them: no `jsonrpc` member."""

import json
from typing import Any

from worker.errors import BusWatchError
from worker.terminal.channels.websocket import ShapeError, WebSocket

_NO_METHOD = -32601  # JSON-RPC 2.0, 5.1


class RefusedCallError(BusWatchError):
    """The server answered with an error: it has done nothing."""

    code = "refused"
    exit_status = 69


class UnknownCallError(RefusedCallError):
    """The server does not know such a request, or not with these parameters."""

    code = "unknown_call"


class JsonRpc:
    """One connection; requests one after the other."""

    def __init__(self, stream: WebSocket) -> None:
        self._stream, self._number = stream, 0

    def call(self, method: str, until: float, **params: object) -> dict[str, Any]:
        """The result of a request; whatever else comes meanwhile is not for us.

        Raises:
            RefusedCallError: the server's error.
            UnknownCallError: the server does not know such a request.
            UnsentError: the request was not written whole.
            BrokenError: silence, or a broken connection.
            ShapeError: an answer of another shape.
        """
        self._number += 1
        self._stream.send(json.dumps({"id": self._number, "method": method, "params": params}), until)
        while True:
            try:
                answer = json.loads(self._stream.receive(until))
            except (ValueError, RecursionError):
                raise ShapeError(f"the answer to {method} is no JSON") from None
            if not isinstance(answer, dict) or answer.get("id") != self._number or "method" in answer:
                continue
            if isinstance(answer.get("error"), dict):
                words = " ".join(str(answer["error"].get("message")).split())
                unknown = answer["error"].get("code") == _NO_METHOD or "unknown variant" in words
                refusal = UnknownCallError if unknown else RefusedCallError
                raise refusal(f"{method} was refused: {words[:200]}")
            if not isinstance(answer.get("result"), dict):
                raise ShapeError(f"the answer to {method} has no result")
            result: dict[str, Any] = answer["result"]
            return result

    def notify(self, method: str, until: float) -> None:
        """Say something that has no answer."""
        self._stream.send(json.dumps({"method": method}), until)

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
