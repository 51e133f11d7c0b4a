"""The APIs that agent UIs speak to a model: how each reads, and how each wants to be answered."""

import json
import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

Json: TypeAlias = dict[str, Any]
Event: TypeAlias = tuple[str | None, Json | str]
"""A server-sent event: its name, where the dialect has names, and its data."""


@dataclass(frozen=True)
class Said:
    """One turn of the conversation: `role` is "user", "model" or "tool"; `parts` are its text blocks."""

    role: str
    parts: list[str]


@dataclass(frozen=True)
class Answer:
    """What to say: pieces of text `gap` seconds apart, then perhaps a tool call (name, arguments)."""

    pieces: list[str]
    gap: float
    call: tuple[str, Json] | None

    def __iter__(self) -> Iterator[str]:
        """The pieces, with the pauses between them."""
        for number, piece in enumerate(self.pieces):
            if number and self.gap:
                time.sleep(self.gap)
            yield piece

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


def _blocks(content: Any) -> list[str]:
    """The text blocks of OpenAI or Anthropic content: a string, or a list of strings and typed objects."""
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    return [block if isinstance(block, str) else str(block["text"]) for block in content if _has_text(block)]


def _has_text(block: Any) -> bool:
    return isinstance(block, str) or isinstance(block.get("text"), str)


class Dialect(ABC):
    """One API: how its requests read, and how it wants to be answered."""

    @abstractmethod
    def said(self, body: Json) -> list[Said]:
        """The conversation, oldest first."""

    def tools(self, body: Json) -> list[str]:
        """The names of the tools that are offered."""
        return [
            str(t.get("name") or t.get("function", {}).get("name") or t.get("type")) for t in body.get("tools") or []
        ]

    def takes(self, body: Json, name: str) -> set[str]:
        """The arguments that the tool of that name declares; some UIs (Vibe 3.0) refuse a call with others."""
        declared = [t.get("function") or t for t in body.get("tools") or []]
        schemas = [t.get("parameters") or t.get("input_schema") or {} for t in declared if t.get("name") == name]
        return {key for schema in schemas for key in schema.get("properties") or {}}

    @abstractmethod
    def whole(self, body: Json, answer: Answer) -> Json:
        """The answer as one object."""

    @abstractmethod
    def stream(self, body: Json, answer: Answer) -> Iterator[Event]:
        """The answer as events."""

    def streaming(self, path: str, body: Json) -> bool:
        """Does this request want events?"""
        del path
        return bool(body.get("stream"))


class Responses(Dialect):
    """OpenAI `/responses` (Codex)."""

    def said(self, body: Json) -> list[Said]:
        """See `Dialect`."""
        given = body.get("input", [])
        if isinstance(given, str):
            return [Said("user", [given])]
        turns = []
        for item in given:
            kind = str(item.get("type", "message"))
            if kind == "message":
                role = {"assistant": "model", "user": "user"}.get(item.get("role"), "system")
                turns.append(Said(role, _blocks(item.get("content"))))
            elif kind.endswith("_output"):
                turns.append(Said("tool", []))
            elif kind.endswith("_call"):
                turns.append(Said("model", []))
        return turns

    def whole(self, body: Json, answer: Answer) -> Json:
        """See `Dialect`."""
        return {
            "id": f"resp_{_id()}",
            "object": "response",
            "status": "completed",
            "model": body.get("model"),
            "output": [self._message(f"msg_{_id()}", answer.text)],
            "usage": self._usage(),
        }

    def stream(self, body: Json, answer: Answer) -> Iterator[Event]:
        """See `Dialect`."""
        del body
        response, message = f"resp_{_id()}", f"msg_{_id()}"
        yield self._event("response.created", response={"id": response, "status": "in_progress"})
        if answer.pieces:
            item = {"type": "message", "id": message, "role": "assistant", "content": []}
            yield self._event("response.output_item.added", output_index=0, item=item)
            for piece in answer:
                yield self._event(
                    "response.output_text.delta", item_id=message, output_index=0, content_index=0, delta=piece
                )
            done = self._message(message, answer.text)
            yield self._event("response.output_item.done", output_index=0, item=done)
        if answer.call:
            name, arguments = answer.call
            namespace, _, bare = name.rpartition(":")  # Codex 0.171.0 has the tools of an MCP server in a namespace
            call = {
                "type": "function_call",
                "id": f"fc_{_id()}",
                "call_id": f"call_{_id()}",
                "name": bare,
                "arguments": json.dumps(arguments),
            } | ({"namespace": namespace} if namespace else {})
            yield self._event("response.output_item.done", output_index=len(answer.pieces) and 1, item=call)
        finished = {"id": response, "status": "completed", "usage": self._usage()}
        yield self._event("response.completed", response=finished)

    @staticmethod
    def _event(name: str, **data: Any) -> Event:
        return name, {"type": name, **data}

    @staticmethod
    def _message(name: str, text: str) -> Json:
        return {"type": "message", "id": name, "role": "assistant", "content": [{"type": "output_text", "text": text}]}

    @staticmethod
    def _usage() -> Json:
        return {
            "input_tokens": 5,
            "input_tokens_details": None,
            "output_tokens": 2,
            "output_tokens_details": None,
            "total_tokens": 7,
        }


class ChatCompletions(Dialect):
    """OpenAI `/chat/completions` (OpenCode)."""

    USAGE: ClassVar[Json] = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}

    def said(self, body: Json) -> list[Said]:
        """See `Dialect`."""
        roles = {"assistant": "model", "user": "user", "tool": "tool"}
        turns = []
        for message in body.get("messages", []):
            role = roles.get(message.get("role"), "system")
            # What a tool said is nobody's message, though one that was queued meanwhile may stand right behind it.
            turns.append(Said(role, [] if role == "tool" else _blocks(message.get("content"))))
        return turns

    def whole(self, body: Json, answer: Answer) -> Json:
        """See `Dialect`."""
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**self._base(body), "object": "chat.completion", "choices": [choice], "usage": self.USAGE}

    def stream(self, body: Json, answer: Answer) -> Iterator[Event]:
        """See `Dialect`."""
        base = {**self._base(body), "object": "chat.completion.chunk"}

        def chunk(delta: Json, finish: str | None = None) -> Event:
            return None, {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

        for piece in answer:
            yield chunk({"role": "assistant", "content": piece})
        if answer.call:
            name, arguments = answer.call
            function = {"name": name, "arguments": json.dumps(arguments)}
            yield chunk({"tool_calls": [{"index": 0, "id": f"call_{_id()}", "type": "function", "function": function}]})
        yield chunk({}, "tool_calls" if answer.call else "stop")
        yield None, {**base, "choices": [], "usage": self.USAGE}
        yield None, "[DONE]"

    @staticmethod
    def _base(body: Json) -> Json:
        return {"id": f"chatcmpl-{_id()}", "created": int(time.time()), "model": body.get("model")}


class Messages(Dialect):
    """Anthropic `/messages` (Claude Code)."""

    MEANWHILE = re.compile(
        r"(?:The user sent a new|Another Claude session sent a) message while you were working:\n(.*?)\n\n"
        r"(?:IMPORTANT: |This is how Claude Code surfaces messages |This came from another Claude session)",
        re.DOTALL,
    )
    """How Claude Code 2.1 hands over what was queued, once a tool has run: in a message whose role is "system", or
    (2.1.332) "user"."""

    PASTED = re.compile(r'(?:\n\n)?<pasted_content id="([^"]+)">\n(.*?)\n</pasted_content id="\1">\n?', re.DOTALL)
    """What Claude Code (seen in 2.1.332) puts around a paste of four lines or more, or of more than 800 characters."""

    def said(self, body: Json) -> list[Said]:
        """See `Dialect`."""
        turns = []
        for message in body.get("messages", []):
            content = message.get("content")
            texts = _blocks(content)
            results = not isinstance(content, str) and any(b.get("type") == "tool_result" for b in content or [])
            role = "tool" if results else {"assistant": "model"}.get(message.get("role"), str(message.get("role")))
            if role == "system" and (queued := [found for text in texts for found in self.MEANWHILE.findall(text)]):
                role, texts = "user", queued
            if role in {"user", "tool"}:  # what was queued stands beside the result of a tool, in one message
                texts = [one for text in texts for one in self.MEANWHILE.findall(text) or [text]]
                texts = [self.PASTED.sub(r"\2", text) for text in texts]
            turns.append(Said(role, texts))
        return turns

    def whole(self, body: Json, answer: Answer) -> Json:
        """See `Dialect`."""
        return {**self._head(body), "content": [{"type": "text", "text": answer.text}], "stop_reason": "end_turn"}

    def stream(self, body: Json, answer: Answer) -> Iterator[Event]:
        """See `Dialect`."""
        yield self._event("message_start", message={**self._head(body), "content": []})
        index = 0
        if answer.pieces:
            yield self._event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for piece in answer:
                delta: Json = {"type": "text_delta", "text": piece}
                yield self._event("content_block_delta", index=index, delta=delta)
            yield self._event("content_block_stop", index=index)
            index += 1
        if answer.call:
            name, arguments = answer.call
            block = {"type": "tool_use", "id": f"toolu_{_id()}", "name": name, "input": {}}
            yield self._event("content_block_start", index=index, content_block=block)
            delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
            yield self._event("content_block_delta", index=index, delta=delta)
            yield self._event("content_block_stop", index=index)
        reason = "tool_use" if answer.call else "end_turn"
        yield self._event(
            "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 2}
        )
        yield self._event("message_stop")

    @staticmethod
    def _event(name: str, **data: Any) -> Event:
        return name, {"type": name, **data}

    @staticmethod
    def _head(body: Json) -> Json:
        return {
            "id": f"msg_{_id()}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 1},
        }


class Gemini(Dialect):
    """Google `generateContent` and `streamGenerateContent` (Gemini CLI)."""

    USAGE: ClassVar[Json] = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}

    def said(self, body: Json) -> list[Said]:
        """See `Dialect`."""
        turns = []
        for content in body.get("contents", []):
            parts = content.get("parts", [])
            results = any("functionResponse" in part for part in parts)
            role = "tool" if results else {"model": "model"}.get(content.get("role"), "user")
            turns.append(Said(role, [str(part["text"]) for part in parts if "text" in part]))
        return turns

    def tools(self, body: Json) -> list[str]:
        """See `Dialect`."""
        return [f["name"] for tool in body.get("tools") or [] for f in tool.get("functionDeclarations", [])]

    def whole(self, body: Json, answer: Answer) -> Json:
        """See `Dialect`."""
        text = answer.text
        if (body.get("generationConfig") or {}).get("responseMimeType") == "application/json":
            # Its routing and "who speaks next" questions; they must parse, whatever they say.
            text = json.dumps(
                {
                    "reasoning": "-",
                    "next_speaker": "user",
                    "model_choice": "flash",
                    "complexity_reasoning": "-",
                    "complexity_score": 5,
                }
            )
        return self._chunk([{"text": text}], finish=True)

    def stream(self, body: Json, answer: Answer) -> Iterator[Event]:
        """See `Dialect`."""
        del body
        left = len(answer.pieces) + bool(answer.call)
        for piece in answer:
            left -= 1
            yield None, self._chunk([{"text": piece}], finish=not left)
        if answer.call:
            name, arguments = answer.call
            yield None, self._chunk([{"functionCall": {"name": name, "args": arguments}}], finish=True)

    def streaming(self, path: str, body: Json) -> bool:
        """See `Dialect`."""
        del body
        return ":streamGenerateContent" in path

    def _chunk(self, parts: list[Json], *, finish: bool) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish:
            candidate["finishReason"] = "STOP"
        return {"candidates": [candidate], "usageMetadata": self.USAGE}


def dialect_of(path: str) -> Dialect | None:
    """The API that `path` (without its query) belongs to; None for everything else a UI asks for."""
    if path.endswith("/responses"):
        return Responses()
    if path.endswith("/chat/completions"):
        return ChatCompletions()
    if path.endswith("/messages"):
        return Messages()
    if path.endswith((":generateContent", ":streamGenerateContent")):
        return Gemini()
    return None


def _id() -> str:
    return uuid.uuid4().hex[:16]
