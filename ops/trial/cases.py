r"""The messages of the trial: what is sent, and what the agent must get.

Each text carries a marker that no other one has, unless it would no longer be the text that it is. `expected` is what
must stand in the conversation but for spaces at either end, which a UI may take off and a profile may add (a trailing
space defuses `\` and `@`).
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One message: its `marker` (or none), the `text` that is sent, and what must arrive.

    `also`: what may arrive instead, where a UI makes something of its own of a text. `files`: the markers of files that
    it names and that must not come with it; `near`: of those in the UI's own directory, which may, but it is noted.
    """

    marker: str
    text: str
    expected: str
    also: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    @property
    def forms(self) -> tuple[str, ...]:
        """Every form in which it may arrive."""
        return self.expected, *self.also


def marker() -> str:
    """A new one, in the form that the model's log looks for."""
    return f"M{secrets.token_hex(4)}Z"


def file_marker() -> str:
    """A new one for what a file holds."""
    return f"F{secrets.token_hex(4)}Z"


def plain(text: str) -> Callable[[], Message]:
    """Messages that must arrive as they are sent; `@@` in `text` stands for the marker."""
    return changed(text, text)


def changed(text: str, expected: str) -> Callable[[], Message]:
    """Messages that must arrive changed: controls have become visible."""

    def make() -> Message:
        mark = marker()
        return Message(mark, text.replace("@@", mark), expected.replace("@@", mark))

    return make


FIVE_LINES = (
    "@@ first of five lines\n  second, indented\nthird: $HOME `date` \"quoted\" 'too'\n\nfifth, after an empty one"
)
EIGHT_KB = "@@ " + " ".join(f"word{n:04d}" for n in range(900)) + " the end"

SIMPLE = {
    "short": plain("@@ please look at the failing test"),
    "5 lines": plain(FIVE_LINES),
    "8 KB": plain(EIGHT_KB),
}
"""Sent to an idle agent."""

BUSY = {
    "busy": plain("@@ and when that is done, this"),
    "busy, 5 lines": plain(FIVE_LINES),
}
"""Sent while the agent answers another message."""

SPECIAL = {
    "leading /": plain("/unknown @@ is no command"),
    "leading / (known)": plain("/help @@ is no command either"),
    "leading !": plain("!touch approved; echo @@"),
    "leading #": plain("# @@ remember nothing"),
    "leading @": plain("@nobody @@ look"),
    "leading &": plain("& @@ go on"),
    "leading ?": plain("? @@ what now"),
    "leading -": plain("-l @@ is no option"),
    "trailing @name": plain("@@ ask @gen"),
    "trailing @path": plain("@@ look at @src/"),
    "trailing \\": plain("@@ ends with a backslash \\"),
    "tabs": plain("@@ a\tb\t\tc"),
    "unicode": plain(
        "@@ Grüße, \u65e5\u672c\u8a9e, \U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea e\u0301 \u05e9\u05dc\u05d5\u05dd"
    ),
    "emoji": plain(
        "@@ \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \u2764\ufe0f \u26a0\ufe0f ok \U0001f44d"
    ),
    "break-out": changed("@@ before\x1b[201~\rtouch approved\rafter", "@@ before\u241b[201~\ntouch approved\nafter"),
    "controls": changed("@@ a\x03b\x04c\x15d\x1b[Ae\x7ff\x9b2Jg", "@@ a\u2403b\u2404c\u2415d\u241b[Ae\u2421f\ufffd2Jg"),
    "trailing ;": plain("@@ do it;"),
    "key name": plain("Enter @@ C-c"),
    "shell words": plain("@@ $(touch approved) `touch approved` ; touch approved & \"' \\\\ %s #{pane_id}"),
    "CRLF": changed("@@ one\r\ntwo\r\n", "@@ one\ntwo"),
    "yes": plain("1 y yes @@"),
    "quoted markers": plain("@@ [Pasted text #1 +3 lines] \u276f [Pasted Content 99 chars] \u203a"),
}
"""Texts that a UI, a terminal or tmux would take for something else; sent to an idle agent."""
