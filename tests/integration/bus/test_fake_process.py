"""The fakes as a process, as acceptance tests use them."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.ledgers import MemoryLedger
from tests.fakes.streams import GENERATIONS
from worker.bus.client import BusClient
from worker.bus.errors import ServerError
from worker.bus.requests import Endpoint
from worker.secret import Secret


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_fake_is_steered_from_outside(generation: str) -> None:
    command = [sys.executable, "-m", "tests.fakes.bridges", "--generation", generation, "--token", "bob=secret@acme"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]

            def control(name: str, body: Any = None) -> Any:
                data = None if body is None else json.dumps(body).encode()
                with urllib.request.urlopen(f"{url}/_control/{name}", data, timeout=10) as answer:
                    return json.load(answer)

            control("add", {"agent": "bob", "text": "message {n}", "project": "acme", "count": 20})
            control("add", {"agent": "bob", "project": "acme", "raw": "poison"})
            control("fault", {"kind": "status", "value": 503, "times": 1})
            endpoint = Endpoint("bob", None, url, lambda: Secret("secret"), 10, presence=False)
            with BusClient() as client:
                with pytest.raises(ServerError):
                    client.collect(endpoint, MemoryLedger(), lambda: None)
                collected = client.collect(endpoint, MemoryLedger(), lambda: None)
            assert [message.text for message in collected.messages] == [f"message {n}" for n in range(20)]
            assert len(collected.malformed) == 1
            seen = control("requests")
            assert {request["authorization"] for request in seen} == {"Bearer secret"}
            assert seen[0]["path"] == "/inbox"
        finally:
            process.terminate()
        assert process.wait(10) == 0
