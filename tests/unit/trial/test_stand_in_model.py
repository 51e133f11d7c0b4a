"""The trial's stand-in model: what it answers, and that its log tells the truth about what was submitted."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.trial.model import StandIn


@pytest.fixture
def model(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(tmp_path / "truth.jsonl") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(model: StandIn, path: str, body: dict[str, Any]) -> str:
    request = urllib.request.Request(f"{model.base('ui')}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(answer.read().decode())


def log(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]


def responses(*texts: str) -> dict[str, Any]:
    turns = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": t}]} for t in texts]
    return {"input": turns, "stream": True, "tools": [{"type": "function", "name": "exec_command"}]}


def chat(*texts: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": "bash"}}]
    return {"messages": [{"role": "user", "content": t} for t in texts], "stream": True, "tools": tools}


def messages(*texts: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": [{"type": "text", "text": t} for t in texts]}]
    return {"messages": turns, "stream": True, "tools": [{"name": "Bash"}]}


def gemini(*texts: str) -> dict[str, Any]:
    turns = [{"role": "user", "parts": [{"text": t} for t in texts]}]
    return {"contents": turns, "tools": [{"functionDeclarations": [{"name": "run_shell_command"}]}]}


APIS = [
    ("/v1/responses", responses, "response.completed"),
    ("/v1/chat/completions", chat, "[DONE]"),
    ("/v1/messages", messages, "message_stop"),
    ("/v1beta/models/fake:streamGenerateContent?alt=sse", gemini, '"finishReason": "STOP"'),
]
api = pytest.mark.parametrize(("path", "body", "end"), APIS, ids=["responses", "chat", "messages", "gemini"])


@api
def test_it_answers_and_writes_down_what_was_said(
    model: StandIn, tmp_path: Path, path: str, body: Any, end: str
) -> None:
    answer = ask(model, path, body("hello M00000001Z", "two\nlines M00000002Z"))
    assert "ok M00000001Z M00000002Z" in answer
    assert end in answer
    (request,) = log(tmp_path)
    assert request["new"] == ["hello M00000001Z", "two\nlines M00000002Z"]
    assert request["markers"] == ["M00000001Z", "M00000002Z"]
    assert request["main"]
    assert not request["asked"]


@api
def test_the_word_toolcall_asks_to_run_a_command(
    model: StandIn, tmp_path: Path, path: str, body: Any, end: str
) -> None:
    answer = ask(model, path, body("toolcall please"))
    assert "touch approved" in answer
    assert end in answer
    assert log(tmp_path)[0]["asked"]


@api
def test_a_request_without_tools_is_a_side_request(
    model: StandIn, tmp_path: Path, path: str, body: Any, end: str
) -> None:
    asked = body("toolcall: make a title of M00000001Z")
    del asked["tools"]
    assert "touch approved" not in ask(model, path, asked)
    assert [request["main"] for request in log(tmp_path)] == [False]


def test_a_slow_answer_takes_its_time_in_pieces(model: StandIn) -> None:
    answer = ask(model, "/v1/chat/completions", chat("slow1 M00000001Z"))
    assert [f" w{n}" in answer for n in range(5)] == [True, True, True, True, False]


def test_what_was_said_before_the_model_spoke_is_not_new(model: StandIn, tmp_path: Path) -> None:
    body = chat("first M00000001Z")
    body["messages"] += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": "next M00000001Z"}]
    ask(model, "/v1/chat/completions", body)
    (request,) = log(tmp_path)
    assert request["new"] == ["next M00000001Z"]
    assert request["markers"] == ["M00000001Z", "M00000001Z"]


def test_claude_code_hands_over_in_mid_turn(model: StandIn, tmp_path: Path) -> None:
    said = "The user sent a new message while you were working:\nhi M00000001Z\n\nIMPORTANT: After completing"
    body = messages("go")
    body["messages"] += [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "done"}]},
        {"role": "system", "content": said},
    ]
    ask(model, "/v1/messages", body)
    assert log(tmp_path)[0]["new"] == ["hi M00000001Z"]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
def test_what_a_tool_said_is_nobodys_message(model: StandIn, tmp_path: Path, path: str) -> None:
    if path.endswith("responses"):
        body = responses("go")
        body["input"] += [
            {"type": "function_call", "call_id": "1", "name": "exec_command", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "(no output)"},
            *responses("queued M00000001Z")["input"],
        ]
    else:
        body = chat("go")
        call = {"id": "1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
        body["messages"] += [
            {"role": "assistant", "content": "ok", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "(no output)"},
            *chat("queued M00000001Z")["messages"],
        ]
    ask(model, path, body)
    assert log(tmp_path)[0]["new"] == ["queued M00000001Z"]


def test_a_file_is_seen_wherever_it_stands(model: StandIn, tmp_path: Path) -> None:
    """As what a tool said, which is nobody's message, or where the system speaks."""
    body = chat("see @notes.txt M00000001Z")
    body["messages"] += [
        {"role": "tool", "tool_call_id": "1", "content": "F00000001Z"},
        {"role": "system", "content": "notes.txt: F00000002Z"},
    ]
    ask(model, "/v1/chat/completions", body)
    assert log(tmp_path)[0]["files"] == ["F00000001Z", "F00000002Z"]


def test_what_claude_code_puts_around_a_long_paste_is_taken_off(model: StandIn, tmp_path: Path) -> None:
    pasted = '\n\n<pasted_content id="3b11">\n[a:b -> c:d] M00000001Z\ntwo\n</pasted_content id="3b11">\n'
    other = 'half a line\n\n<pasted_content id="3b11">\nM00000002Z\n</pasted_content id="3b12">\n'
    ask(model, "/v1/messages", messages(pasted, other))
    assert log(tmp_path)[0]["new"] == ["[a:b -> c:d] M00000001Z\ntwo", other]


def test_what_claude_code_says_around_a_message_in_the_middle_of_a_turn_is_taken_off(
    model: StandIn, tmp_path: Path
) -> None:
    said = (
        "The user sent a new message while you were working:\nM00000001Z\n\nThis is how Claude Code surfaces messages "
    )
    ask(model, "/v1/messages", messages("go", said))
    assert log(tmp_path)[0]["new"] == ["go", "M00000001Z"]


def test_such_a_message_beside_the_result_of_a_tool_is_one_too(model: StandIn, tmp_path: Path) -> None:
    """Claude Code 2.1.332, once a question is answered: both in one message."""
    said = (
        "The user sent a new message while you were working:\nM00000001Z\n\nThis is how Claude Code surfaces messages "
    )
    body = messages("go")
    result = {"type": "tool_result", "tool_use_id": "1", "content": "done"}
    body["messages"] += [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [result, {"type": "text", "text": said}]},
    ]
    ask(model, "/v1/messages", body)
    assert log(tmp_path)[0]["new"] == ["M00000001Z"]


def test_a_ui_without_tools_has_no_side_requests_and_gets_a_shell_block(tmp_path: Path) -> None:
    with StandIn(tmp_path / "truth.jsonl", tools=False) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        body = chat("toolcall M00000001Z")
        del body["tools"]
        answer = ask(server, "/v1/chat/completions", body)
        server.shutdown()
        thread.join()
    assert "```bash\\ntouch approved\\n```" in answer
    assert log(tmp_path)[0]["main"]
