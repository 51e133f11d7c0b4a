import os
import stat
from pathlib import Path

import pytest

from worker.template import parse
from worker.transports.command import (
    MAX_STRING,
    CannotRun,
    Command,
    CommandNotAllowed,
    Envelope,
    Prepared,
    check_command,
    write_message_file,
)

MESSAGE = Envelope(
    agent="bob", project="acme", stream="s", message_id="1795300087770-0", source="agent:alice",
    text="hello {agent} $HOME", message_class="actionable", timestamp="2026-11-21T22:28:07Z",
    key="bob/1795300087770-0", attempt=3,
)  # fmt: skip


def made(
    *arguments: str,
    message: Envelope = MESSAGE,
    stdin: bool = False,
    extra: dict[str, str] | None = None,
    file: Path | None = None,
) -> Prepared:
    command = [parse(argument) for argument in ("/bin/echo", *arguments)]
    return Command(command, allowlist=["/bin/echo"], extra_env=extra or {}, stdin=stdin).prepare(message, file)


def test_the_environment_is_exactly_the_documented_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("SOS_TOKEN", "canary")
    assert made(extra={"MODE": "fast", "SOS_AGENT": "forged"}).env == {
        b"PATH": b"/usr/bin",
        b"HOME": b"/home/x",
        b"MODE": b"fast",
        b"SOS_AGENT": b"bob",
        b"SOS_PROJECT": b"acme",
        b"SOS_MESSAGE_STREAM_ID": b"1795300087770-0",
        b"SOS_MESSAGE_SOURCE": b"agent:alice",
        b"SOS_MESSAGE_TEXT": b"hello {agent} $HOME",
        b"SOS_MESSAGE_CLASS": b"actionable",
        b"SOS_MESSAGE_TIMESTAMP": b"2026-11-21T22:28:07Z",
        b"SOS_MESSAGE_KEY": b"bob/1795300087770-0",
        b"SOS_DELIVERY_ATTEMPT": b"3",
    }


def test_values_go_in_as_they_are() -> None:
    assert made("[{source}] {text}").argv == [b"/bin/echo", b"[agent:alice] hello {agent} $HOME"]


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    prepared = made("{text}", message=MESSAGE._replace(text="a\ud800b\udc80"), stdin=True)
    assert prepared.argv[1] == prepared.stdin == prepared.env[b"SOS_MESSAGE_TEXT"] == b"a\xef\xbf\xbdb\xef\xbf\xbd"


@pytest.mark.parametrize("text", ["a\0b", "x" * 400_000, "\u20ac" * 50_000])
def test_text_that_fits_no_string_is_omitted_or_fatal(text: str, tmp_path: Path) -> None:
    message = MESSAGE._replace(text=text)
    prepared = made("{message_file}", message=message, stdin=True, file=tmp_path / "m")
    assert b"SOS_MESSAGE_TEXT" not in prepared.env
    assert prepared.env[b"SOS_MESSAGE_TEXT_OMITTED"] == b"1"
    assert prepared.stdin == text.encode()
    with pytest.raises(CannotRun) as caught:
        made("{text}", message=message)
    assert text not in str(caught.value)


def test_the_longest_argument_is_one_that_the_kernel_takes() -> None:
    longest = "x" * (MAX_STRING - 1)
    prepared = made("{text}", message=MESSAGE._replace(text=longest))
    pid = os.posix_spawn(prepared.argv[0], prepared.argv, prepared.env, file_actions=[(os.POSIX_SPAWN_CLOSE, 1)])
    os.waitpid(pid, 0)
    with pytest.raises(CannotRun):
        made("{text}", message=MESSAGE._replace(text=longest + "x"))


def test_nul_in_a_source_is_replaced() -> None:
    assert made("{source}", message=MESSAGE._replace(source="a\0b")).argv[1] == "a\ufffdb".encode()


def test_a_sum_that_is_too_long_is_refused_before_the_start() -> None:
    with pytest.raises(CannotRun, match="longer than this system"):
        made(*["{text}"] * 40, message=MESSAGE._replace(text="x" * 120_000))


def test_the_allowlist_compares_resolved_targets(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("")
    link = tmp_path / "link"
    link.symlink_to(real)
    with pytest.raises(CommandNotAllowed, match="not executable"):
        check_command(str(real), [str(real)])
    real.chmod(0o700)
    check_command(str(link), [str(real)])
    check_command(str(real), [str(link)])
    other = tmp_path / "other"
    os.link(real, other)
    with pytest.raises(CommandNotAllowed, match="not on the allowlist"):
        check_command(str(other), [str(real)])
    with pytest.raises(CommandNotAllowed, match="not an absolute path"):
        check_command("echo", ["echo"])
    with pytest.raises(CommandNotAllowed, match="not a file"):
        check_command(str(tmp_path), [str(tmp_path)])
    with pytest.raises(CommandNotAllowed, match="not a file"):
        check_command("/no/such", ["/no/such"])


def test_a_program_that_could_be_run_is_looked_at_again(tmp_path: Path) -> None:
    program, other = tmp_path / "program", tmp_path / "other"
    for path in (program, other):
        path.write_text("")
        path.chmod(0o700)
    check_command(str(program), [str(program)])
    check_command(str(program), [str(program)])
    program.chmod(0o600)
    with pytest.raises(CommandNotAllowed, match="not executable"):
        check_command(str(program), [str(program)])
    program.chmod(0o700)
    check_command(str(program), [str(program)])
    program.unlink()
    with pytest.raises(CommandNotAllowed, match="not a file"):
        check_command(str(program), [str(program)])
    other.rename(program)
    check_command(str(program), [str(program)])
    with pytest.raises(CommandNotAllowed, match="not on the allowlist"):
        check_command(str(program), [])


def test_what_no_message_changes_is_in_each_environment() -> None:
    command = Command(
        [parse("/bin/echo"), parse("-n")], allowlist=["/bin/echo"], extra_env={"MODE": "fast"}, stdin=False
    )
    first, second = (command.prepare(MESSAGE._replace(attempt=attempt)) for attempt in (1, 2))
    assert first.argv == second.argv == [b"/bin/echo", b"-n"]
    assert [one.env[b"SOS_DELIVERY_ATTEMPT"] for one in (first, second)] == [b"1", b"2"]
    assert first.env[b"MODE"] == second.env[b"MODE"] == b"fast"


def test_a_declared_value_that_cannot_be_passed_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(CannotRun, match="the value of MODE"):
            made(extra={"MODE": "x" * MAX_STRING})


def test_a_message_never_chooses_the_program() -> None:
    with pytest.raises(CommandNotAllowed, match="chosen by the message"):
        Command([parse("/bin/{text}")], allowlist=[], extra_env={}, stdin=False).prepare(MESSAGE)


def test_a_message_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.message"
    write_message_file(path, "x\0\ud800y")
    assert path.read_bytes() == b"x\0\xef\xbf\xbdy"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.message"]
