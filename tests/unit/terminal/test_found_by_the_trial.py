"""What the trial against real UIs found, kept as tests that need no UI."""

import json
import re
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from worker.terminal.ours import ours_on
from worker.terminal.profile_files import SHIPPED, load
from worker.terminal.proof import Entered, Prover, Verdict
from worker.terminal.screen import judge
from worker.terminal.submit import prepared
from worker.terminal.target import Agent
from worker.terminal.text import LEADING, guard, squeeze
from worker.terminal.tmux import Look
from worker.terminal.transcript import Surroundings, Watch

SCREENS = Path(__file__).resolve().parents[2] / "fixtures" / "screens"


def idle(profile: str) -> Look:
    """The recorded screen of an agent that has nothing to do."""
    return recorded(profile, "idle-2")


def recorded(profile: str, name: str) -> Look:
    """A recorded screen."""
    saved = json.loads((SCREENS / profile / f"{name}.json").read_text(encoding="utf-8"))
    return Look(dead=False, in_mode=False, input_off=False, synchronized=False, pid=1, tty="/dev/pts/1",
                cursor_x=saved["cursor_x"], cursor_y=saved["cursor_y"], cursor_on=bool(saved["cursor_flag"]),
                width=saved["pane_width"], height=saved["pane_height"], title=saved["pane_title"],
                screen=saved["text"])  # fmt: skip


def prove(home: Path, text: str, *looks: Look) -> Verdict:
    """What is said of `text` that gemini's box does not hold, its record lying in `home`, and what it shows then.

    Without `looks` it is idle all the time; of them each is shown for half a second, the last one from then on.
    """
    profile = load("gemini", [SHIPPED])
    assert profile.record is not None
    assert profile.composer is not None
    watch = Watch(profile.record, Surroundings(str(home), "/", {}), text)
    entered = Entered(text, profile, profile.composer, was_busy=False, watch=watch)
    began = time.monotonic()

    def look() -> Look:
        shown = looks or (idle("gemini"),)
        return shown[min(int((time.monotonic() - began) / 0.5), len(shown) - 1)]

    prover = Prover(entered, look, lambda _seen, _look: True, retries=0, deadline=time.monotonic() + 2.5)
    return prover.run()


def test_an_emptied_box_is_no_proof_where_there_is_a_record_that_lacks_the_text(tmp_path: Path) -> None:
    """gemini trimmed ` /help`, ran it as a command, and the verdict was "submitted"."""
    chats = tmp_path / ".gemini" / "tmp" / "work" / "chats"
    chats.mkdir(parents=True)
    (chats / "session-1.jsonl").write_text('{"type": "user", "content": [{"text": "something else"}]}\n')
    assert prove(tmp_path, "nothing that the screen shows").verdict == "unproven"


def test_an_emptied_box_is_proof_where_no_record_can_be_read(tmp_path: Path) -> None:
    assert prove(tmp_path, "nothing that the screen shows").verdict == "submitted"


def test_a_dialog_that_opens_over_a_queued_message_takes_nothing_back(tmp_path: Path) -> None:
    """gemini records a message only when its turn has come: 13 of 30 were queued, and then "unproven"."""
    queued, dialog = recorded("gemini", "queued-1"), recorded("gemini", "dialog-1")
    said = prove(tmp_path, "next one, M00000003Z", queued, dialog)
    assert (said.verdict, said.proof) == ("queued", "screen")
    draft = recorded("gemini", "draft-1")
    assert prove(tmp_path, "please look at", queued, draft, dialog).verdict == "unproven"
    assert prove(tmp_path, "next one, M00000003Z", dialog).verdict == "unproven"


@pytest.mark.parametrize(
    ("profile", "key", "busy"),
    [
        ("gemini", "Enter", "Tab"),
        ("opencode", "Enter", "Right Enter"),
        ("opencode", "C-m", "Right C-m"),
        ("codex", "Enter", "Enter"),
        ("claude", "C-m", "C-m"),
    ],
)
def test_a_busy_agent_is_given_keys_that_approve_nothing(profile: str, key: str, busy: str) -> None:
    agent = Agent(load(profile, [SHIPPED]), None, key)
    assert (agent.submits(busy=True), agent.submits(busy=False)) == (busy, key)


def test_gemini_is_given_a_slash_behind_more_than_a_space() -> None:
    typing = load("gemini", [SHIPPED]).typing
    assert guard("/help me", typing.leading, typing.trailing) == "> /help me"


def test_text_that_a_ui_composed_is_still_ours() -> None:
    assert squeeze("Andre\u0301 says\nhi") == squeeze("  Andr\u00e9 says hi ")


def test_what_tmux_loses_of_an_emoji_does_not_matter() -> None:
    sent = "\U0001f44d\U0001f3fd \u2764\ufe0f \U0001f468\u200d\U0001f469 ok"
    shown = "\U0001f44d \u2764  \U0001f468\U0001f469 ok"
    assert squeeze(sent) == squeeze(shown) != squeeze("ok")


@pytest.mark.parametrize("text", ["a \u241b[201~\nb", "cost: 2001~", "^[[200~ x", "[200~x [201~.", "~[[e~[[e~[[e~[[e"])
def test_hermes_has_nothing_to_take_out_of_a_text(text: str) -> None:
    """It took `[201~` out of a paste: its box showed another text, Enter was not pressed, and the lane stood still."""
    taken = re.compile(  # hermes_cli/input_sanitize.py of 0.19.0
        r"(^|[\s\n>:\]\)])\[200~|\[201~(?=$|[\s\n<\[\(\):;.,!?])|(^|[\s\n>:\]\)])00~|01~(?=$|[\s\n<\[\(\):;.,!?])"
        r"|\^\[\[20[01]~|(?:~\[\[e){4}$"
    )
    sent = prepared(text, load("hermes", [SHIPPED]))
    assert taken.search(text) is not None
    assert taken.search(sent) is None
    assert squeeze(sent) == squeeze(text), "but for blanks it is the same"


def with_row(look: Look, row: str, cursor_x: int) -> Look:
    """`look` with another row where the cursor is, and the cursor in that column."""
    lines = look.screen.split("\n")
    lines[look.cursor_y] = row
    return replace(look, screen="\n".join(lines), cursor_x=cursor_x)


HALF_FLAGS = {"idle-6": 1, "idle-7": 3, "idle-8": 3}
"""Vibe's screens after messages with flags, and how many halves of one stand in the box, which it says is empty."""


@pytest.mark.parametrize("name", HALF_FLAGS)
def test_half_a_flag_that_tmux_kept_is_no_draft(name: str) -> None:
    """vibe: what was left of a flag in its emptied box held the next message back, 2 of 66."""
    look = recorded("vibe", name)
    row = look.screen.split("\n")[look.cursor_y]
    assert sum(0x1F1E6 <= ord(cell) <= 0x1F1FF for cell in row) == HALF_FLAGS[name]
    assert judge(look, load("vibe", [SHIPPED])).state == "idle"


@pytest.mark.parametrize("typed", ["\U0001f1e9\U0001f1ea", "x \U0001f1ea", "  \U0001f1e9\U0001f1ea", "\U0001f1ea"])
def test_a_flag_that_somebody_typed_is_a_draft(typed: str) -> None:
    profile = load("vibe", [SHIPPED])
    look = recorded("vibe", "idle-3")
    assert judge(with_row(look, f"> {typed}", 2), profile).state == "draft"


@pytest.mark.parametrize("name", ["queued-1", "queued-2"])
def test_copilots_queue_is_told(name: str) -> None:
    """At 200x50 Copilot 1.0.102 says `Queued (1)` above its box, and no `[pending · ↑ recall]` under the text."""
    seen = judge(recorded("copilot", name), load("copilot", [SHIPPED]))
    assert (seen.state, seen.queued) == ("busy", True)


FAMILY = (
    "M036058eeZ \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \u2764\ufe0f \u26a0\ufe0f ok \U0001f44d"
)


def whose(profile_name: str, before: Look, now: Look, text: str) -> str:
    """Whose text stands in the box `now`, which was empty `before`."""
    profile = load(profile_name, [SHIPPED])
    assert profile.composer is not None
    return ours_on(now, judge(now, profile), text, profile.composer, before)


def test_the_placeholders_cells_behind_an_emoji_are_not_in_the_box() -> None:
    """cline: `..` of "Ask anything..." behind a family, in the placeholder's colour."""
    before = recorded("cline", "idle-2")
    prompt = before.screen.split("\n")[before.cursor_y].split("\u276f")[0] + "\u276f\x1b[0m\x1b[38;5;15m\x1b[49m "
    shown = FAMILY.replace("\U0001f467 ", "\U0001f467\x1b[38;5;102m..\x1b[38;5;15m   ").replace(
        "\u2764\ufe0f", "\u2764\ufe0f "
    )
    now = with_row(before, prompt + shown, 35)
    assert whose("cline", before, now, FAMILY) == "whole"
    typed = with_row(before, prompt + shown.replace("ok", "ok.."), 37)
    assert whose("cline", before, typed, FAMILY) != "whole"


def test_half_a_flag_in_the_midst_of_the_next_message_is_not_in_the_box() -> None:
    before = recorded("vibe", "idle-7")  # its first half stands in column 14
    now = with_row(before, "> my own word \U0001f1eaword", 18)
    assert whose("vibe", before, now, "my own word word") == "whole"
    assert whose("vibe", recorded("vibe", "idle-3"), now, "my own word word") != "whole"


@pytest.mark.parametrize("text", ["/clear", "[a:b -> c:d] /clear", "now\n/quit", "look into /tmp"])
def test_a_last_word_that_cline_takes_for_a_command_gets_a_blank_behind_it(text: str) -> None:
    """Cline 3.0.65 ran `[here:trial -> far:agent] /clear`: its menu opens on a last word with a slash in front."""
    typing = load("cline", [SHIPPED]).typing
    assert guard(text, {**LEADING, **typing.leading}, typing.trailing).endswith(f"{text} ")
    assert guard("/clear it all", {}, typing.trailing) == "/clear it all"
    assert guard("read src/", {}, typing.trailing) == "read src/"


@pytest.mark.parametrize(
    ("agent", "text", "typed"),
    [
        ("cline", "see @/tmp/a.txt please", "see @ /tmp/a.txt please"),
        ("cline", "see @sub/a.py", "see @sub/a.py "),
        ("cline", "run /deploy now", "run //deploy now"),
        ("cline", "[a:b -> c:d] /clear", "[a:b -> c:d] //clear "),
        ("claude", "see @/tmp/a.txt please", "see @ /tmp/a.txt please"),
        ("claude", "sed 's@/usr@/opt@' a", "sed 's@/usr@/opt@' a"),
        ("gemini", "see @/tmp/a.txt please", "see @ /tmp/a.txt please"),
        ("gemini", "see @not", "see @ not"),
        ("omp", "see @/tmp/a.txt please", "see @ /tmp/a.txt please"),
        ("omp", "see @not", "see @ not"),
        ("qwen", "see @sub/a.py, a@b.example", "see @ sub/a.py, a@b.example"),
        ("qwen", "x@session:talk", "x@ session:talk"),
        ("vibe", "see @notes.txt please", "see @ notes.txt please"),
        ("vibe", "see @not", "see @ not"),
    ],
)
def test_no_file_is_read_for_what_stands_behind_an_at(agent: str, text: str, typed: str) -> None:
    """Cline 3.0.65 made `see [file: a.txt] please` of it, Claude Code 2.1.332 read the file, Gemini 0.61.0 asked."""
    assert prepared(text, load(agent, [SHIPPED])) == typed
