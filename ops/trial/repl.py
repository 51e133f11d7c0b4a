"""What turns IPython into an agent that the trial can drive: whatever is entered goes to the model, as it stands.

It is copied into the start-up folder of an IPython profile and needs nothing but the standard library. The model's
answer is printed as it streams; a tool call is asked about, as agents do, and run only after a yes.
"""

import json
import os
import subprocess
import urllib.request
from typing import Any

from IPython import get_ipython

TOOL = {"type": "function", "function": {"name": "bash", "description": "run a command"}}


class Agent:
    """The conversation so far."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._messages: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Send `text`, print the answer, and ask about the command that the model wants to run."""
        self._messages.append({"role": "user", "content": text})
        body = {"model": "fake", "stream": True, "messages": self._messages, "tools": [TOOL]}
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
        )
        words, arguments = "", ""
        with urllib.request.urlopen(request, timeout=600) as answer:
            for line in answer:
                data = line.decode().removeprefix("data: ").strip()
                if not data.startswith("{"):
                    continue
                for choice in json.loads(data)["choices"]:
                    said = choice["delta"].get("content") or ""
                    print(said, end="", flush=True)
                    words += said
                    for call in choice["delta"].get("tool_calls") or []:
                        arguments += call["function"]["arguments"]
        print()
        self._messages.append({"role": "assistant", "content": words})
        if arguments:
            command = json.loads(arguments)["command"]
            if input(f"Run `{command}`? [Y/n] ").strip().lower() in {"", "y", "yes"}:
                subprocess.run(command, shell=True, check=False)


agent = Agent(os.environ["TRIAL_MODEL"])


def to_the_agent(lines: list[str]) -> list[str]:
    """The first of IPython's input transformers: a cell becomes one call, so that nothing of it is run."""
    text = "".join(lines).strip("\n")
    if not text.strip() or text.startswith("agent.say("):
        return lines
    return [f"agent.say({text!r})\n"]


get_ipython().input_transformers_cleanup.insert(0, to_the_agent)
