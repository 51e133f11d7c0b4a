"""Text is data: what of a message may reach a terminal, and how its first and last characters stay text.

A terminal UI executes control characters (`ESC[201~` ends a bracketed paste: bash, IPython and codex then ran
the rest of the text as input of its own), so none of them passes: they become visible or vanish. Everything
else, line feeds and tabs included, stays as it is.
"""

import re
import unicodedata
from collections.abc import Mapping

SAFE = "> "
LEADING = dict.fromkeys("/!#@&$?", SAFE)
"""What goes before a text's first character where nothing else was measured: each is a command to some UI."""
ALONE = frozenset({"exit", "quit", "bye", ":q", ":q!", ":x", ":wq", ":wq!", ":qa", ":qa!"})
"""Texts that end a UI if they are all that is said (Claude Code 2.1, OpenCode 1.18, IPython)."""
_WORD = re.compile(r"(?:\\[\s\S]|\S)+")
"""Blanks behind a backslash belong to it."""
_PATH = re.compile(r"""@(?=["'\\]|~?/|\.{1,2}/|session:)""")
"""What may name a file anywhere, or (Qwen Code 0.24.4) another session, whose conversation it would hand over."""
_AT_START = re.compile(r"""(?<![^\s\ufeff\u3001\u3002\uff01\uff1f])@(?=["'\\]|~?/|\.{1,2}/|\S*?/\.\.)""")
"""Where a word starts to Claude Code 2.1.332: behind white space, a full stop of Chinese and the like."""
_ANY = re.compile(r"@(?=\S)")
_STARTING = re.compile(r"(?<![\w.+-])@(?=\S)")
_NAMED = re.compile(r"(?<![^\s\ufeff])/(?=[A-Za-z0-9_.-]+(?![^\s\ufeff]))")
"""A word that is a command's name, or the path of something in the root directory."""
_TRIMMED = re.compile(r"^[\s\ufeff]+")  # what JavaScript's trim() takes away before a UI looks for a command

MAX_BYTES = 1024 * 1024  # far above the bus's 16,384 characters; a pane that is fed more is a mistake

_KEPT = "\t\n"
_TABLE: dict[int, str | None] = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _KEPT}
_TABLE[0x00] = None  # a NUL is nothing
_TABLE[0x7F] = "\u2421"  # the picture of DEL, as U+2400 + c are the pictures of C0
_TABLE.update(dict.fromkeys(range(0x80, 0xA0), "\ufffd"))  # C1, the 8-bit CSI 0x9B among them
_TABLE.update(dict.fromkeys(range(0xD800, 0xE000), "\ufffd"))  # lone surrogates: no UTF-8 can carry them


def sanitise(text: str) -> str:
    r"""`text` without anything that a terminal would execute.

    CR LF and a lone CR become LF. Other C0 controls and DEL become their pictures (ESC: `␛`), C1 controls and
    lone surrogates U+FFFD, NUL nothing. Line feeds at the end go, since Enter is pressed after it anyway.
    Idempotent.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_TABLE).rstrip("\n")


def decode(data: bytes) -> str:
    """Bytes from a file or standard input as text; what is not UTF-8 becomes U+FFFD."""
    return data.decode("utf-8", "replace")


def guard(text: str, leading: Mapping[str, str], trailing: Mapping[str, str]) -> str:
    r"""Make a UI take the text as text: what its profile says goes in front or behind.

    Args:
        text: sanitised.
        leading: first character -> what to put before it (`!` runs a shell, `/` is a command). What is in ALONE
            gets SAFE.
        trailing: last character -> what to put behind it (a `\` makes Enter a newline). The keys `@` and `/` stand
            for a last word that starts so (it opens a completion that Enter would accept, or a command that it runs).
    """
    start = _TRIMMED.sub("", text)
    front = next((put for key, put in leading.items() if start.startswith(key)), "")
    if start.strip().lower() in ALONE:
        front = SAFE
    last_word = text.rsplit(maxsplit=1)[-1] if text.strip() else ""
    ends = text[-1:].strip() != ""
    behind = next(
        (
            put
            for key, put in trailing.items()
            if ends and (last_word.startswith(key) if key in {"@", "/"} else text.endswith(key))
        ),
        "",
    )
    return front + text + behind


def unmentioned(text: str, which: str) -> str:
    """The text with a blank behind each `@` for which the agent would read a file, and hand it to its model.

    Args:
        text: sanitised.
        which: "words": words that start with an `@` and what may be the path of a file anywhere. Claude Code 2.1.332
            hands such a file over without asking. "paths": also within a word, as in `x@/etc/hosts`. Cline 3.0.65 puts
            the file's name in its place, Gemini 0.61.0 asks whether it may read it, and stands there until somebody
            answers. "all": also each word that starts with `@`. Gemini looks for files called something like it, and
            puts the name of one into the prompt.
    """

    def apart(word: re.Match[str]) -> str:
        such = _ANY if "/.." in word[0] or "\\." in word[0] else _PATH
        found = such.sub("@ ", word[0])
        return _STARTING.sub("@ ", found) if which == "all" else found

    return _AT_START.sub("@ ", text) if which == "words" else _WORD.sub(apart, text)


def unnamed(text: str) -> str:
    """The text with `//word` for each word `/word`, which is the same path and no command.

    Cline 3.0.65 puts a workflow or a skill of that name into the prompt, wherever it stands.
    """
    return _NAMED.sub("//", text)


def is_command(text: str) -> bool:
    """Whether a UI may take the text for a command of its own."""
    start = _TRIMMED.sub("", text)
    return start[:1] in LEADING or start.strip().lower() in ALONE


def squeeze(text: str) -> str:
    """The text without white space, marks, modifiers and what is no character (yet): how texts are compared.

    UIs wrap, indent and pad; Claude Code 2.1 composes what it is given (`e` and U+0301 become one character); tmux 3.3a
    loses skin tones and some joiners on its way to the screen.
    """
    return "".join(filter(_compared, unicodedata.normalize("NFKD", text)))


def _compared(character: str) -> bool:
    if character.isspace() or "\U0001f3fb" <= character <= "\U0001f3ff":
        return False
    return character.isascii() or unicodedata.category(character) not in {"Mn", "Me", "Cf", "Cn"}
