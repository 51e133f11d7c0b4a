"""Which commands would execute parts of a message."""

import pytest

from worker import template
from worker.doctor.interpreters import danger

BAD = [
    ["/bin/sh", "-c", "echo {text}"],
    ["/bin/bash", "-lc", "wake {text}"],
    ["/bin/bash", "-l", "-c", "wake {source}"],
    ["/bin/bash", "-c", "-x", "wake {text}"],
    ["/usr/bin/env", "sh", "-c", "echo {text}"],
    ["/usr/bin/env", "-i", "A=b", "/bin/dash", "-ec", "echo {text}"],
    ["/usr/bin/timeout", "5", "zsh", "-c", "echo {stream_id}"],
    ["/usr/bin/python3.11", "-c", "print('{text}')"],
    ["/usr/bin/python3", "-Ic", "print('{text}')"],
    ["/usr/bin/perl", "-e", "print '{text}'"],
    ["/usr/bin/node", "--eval={text}"],
    ["/usr/bin/osascript", "-e", 'display notification "{text}"'],
    ["/usr/bin/ssh", "host", "wake {text}"],
    ["/usr/bin/ssh", "host", "wake", "{text}"],
    ["/usr/bin/tmux", "new-window", "echo {text}"],
    ["/usr/bin/tmux", "run-shell", "wake {class}"],
    ["/usr/bin/awk", 'BEGIN { print "x" } # {text}'.replace("{ ", "{{ ").replace(" }", " }}")],
]

GOOD = [
    ["/bin/echo", "{text}"],
    ["/bin/sh", "-c", 'wake "$1"', "sh", "{text}"],
    ["/bin/sh", "/opt/wake.sh", "{text}"],
    ["/bin/sh", "-c", "wake {agent} {message_file}"],
    ["/usr/bin/python3", "/opt/wake.py", "{text}"],
    ["/usr/bin/python3", "-c", "import sys; print(sys.argv[1])", "{text}"],
    ["/usr/bin/tmux", "send-keys", "-l", "-t", "codex", "{text}"],
    ["/opt/ssh-wake", "{text}"],
]


@pytest.mark.parametrize("command", BAD, ids=lambda command: " ".join(command[:3])[:40])
def test_found(command: list[str]) -> None:
    reason = danger([template.parse(argument) for argument in command])
    assert reason is not None
    assert "would be read as code by" in reason


@pytest.mark.parametrize("command", GOOD, ids=lambda command: " ".join(command[:3])[:40])
def test_left_alone(command: list[str]) -> None:
    assert danger([template.parse(argument) for argument in command]) is None
