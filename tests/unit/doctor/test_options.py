"""Commands in which a message that starts with `-` is an option."""

import pytest

from worker.doctor.options import may_be_option
from worker.template import parse


@pytest.mark.parametrize(
    "command",
    [
        ["/usr/bin/notify-send", "{text}"],
        ["/usr/bin/tmux", "send-keys", "-t", "a", "{text}"],
        ["/opt/wake", "-m", "{text}"],
        ["/opt/wake", "{source}: {text}"],
        ["/usr/bin/send-message", "-t", "{project}", "-m", "x"],
    ],
)
def test_named(command: list[str]) -> None:
    reason = may_be_option([parse(one) for one in command])
    assert reason is not None
    assert '"--"' in reason


@pytest.mark.parametrize(
    "command",
    [
        ["/usr/bin/notify-send", "--", "{text}"],
        ["/opt/wake", "--text={text}"],
        ["/opt/wake", "text: {text}"],
        ["/opt/wake", "{agent}", "{message_file}"],
        ["/bin/sh", "-c", 'wake "$1"', "sh", "{text}"],
        ["/usr/bin/send-message", "-t", "a", "-m", "{text}"],
        ["/usr/bin/agent-send", "-s", "a", "--message", "{text}"],
    ],
)
def test_none(command: list[str]) -> None:
    assert may_be_option([parse(one) for one in command]) is None
