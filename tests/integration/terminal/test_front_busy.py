"""What a profile puts in front of a text while its agent is busy, and only then."""

from tests.fakes.terminals import Terminal


def test_it_stands_there_only_while_the_agent_is_busy(terminal: Terminal) -> None:
    path = terminal.home / ".config/bus-watch/profiles/standin.toml"
    path.write_text(path.read_text().replace("[typing]", '[typing]\nfront_busy = "/queue "'))
    agent = terminal.agent("a", record=False)
    assert terminal.submit("a", "now").verdict == "submitted"
    agent.tell("busy")
    outcome = terminal.submit("a", "for later")
    assert outcome.verdict == "queued", outcome
    assert agent.events("submit", "queue") == [("submit", "now"), ("queue", "/queue for later")]
