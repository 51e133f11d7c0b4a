"""Odd texts: each must be submitted exactly once, and the plain message behind it must arrive as well."""

import base64
from collections.abc import Iterator
from dataclasses import replace

from ops.trial.cases import Message, file_marker, marker, plain
from ops.trial.rounds import Round, settle, unstick
from ops.trial.sending import Outcome, deliver, judge
from ops.trial.sessions import Session

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""An image of one pixel."""

EMOJI = {
    "a family of four": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "an astronaut": "\U0001f469\U0001f3fd\u200d\U0001f680",
    "a facepalm": "\U0001f926\U0001f3fc\u200d\u2642\ufe0f",
    "a family of three": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "the rainbow flag": "\U0001f3f3\ufe0f\u200d\U0001f308",
    "two flags": "\U0001f1e9\U0001f1ea\U0001f1ef\U0001f1f5",
    "the flag of England": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "a keycap": "1\ufe0f\u20e3",
    "a heart and a warning": "\u2764\ufe0f\u26a0\ufe0f",
    "a kiss": "\U0001f469\u200d\u2764\ufe0f\u200d\U0001f48b\u200d\U0001f468",
}


def alone(text: str) -> Message:
    """A text that is nothing but `text`, which a marker would change."""
    return Message("", text, text)


def commands(session: Session) -> Iterator[Message]:
    """The UI's own commands, alone and with words behind them; and the words that end it."""
    for command in session.ui.commands:
        yield alone(command)
        yield plain(f"{command} @@ and more")()
    for word in ("exit", "quit", ":q"):
        yield alone(word)


def leading(session: Session) -> Iterator[Message]:
    """Texts that begin with what opens a menu, a shell, a file or a memory somewhere."""
    del session
    for character in "/!#@&$?":
        yield plain(f"{character}touch @@ approved")()
        yield plain(f"{character} @@")()


def options(session: Session) -> Iterator[Message]:
    """Texts that a command line takes for an option, and tabs."""
    del session
    for text in ("---", "-v", "--help", "--"):
        yield alone(text)
    for text in (
        "---\n@@",
        "-v @@",
        "--help @@",
        "-m @@",
        "@@ a\tb\t\tc",
        "\t@@ behind a tab",
        "@@\n\tindented\n\t\tmore",
    ):
        yield plain(text)()


def images(session: Session) -> Iterator[Message]:
    """The path of an image that exists, in every position."""
    path = session.cwd / "shot.png"
    path.write_bytes(PNG)
    for text in (
        "PATH",
        "@@ look at PATH",
        "@@ PATH PATH",
        "@@ see PATH now",
        '@@ see "PATH"',
        "@@ see\nPATH",
        "PATH @@",
    ):
        mark = marker() if "@@" in text else ""
        own = text.replace("@@", mark)
        message = own.replace("PATH", str(path))
        yield Message(mark, message, message, (own.replace("PATH", "[Image #1]"),))


def emoji(session: Session) -> Iterator[Message]:
    """Sequences of which tmux may lose a part on its screen."""
    del session
    for sequence in EMOJI.values():
        yield plain(f"@@ {sequence} ok")()
        yield plain(f"@@ it ends with {sequence}")()


def long(session: Session) -> Iterator[Message]:
    """One paragraph that wraps to a box as high as the screen, below and above the size that collapses."""
    del session
    for size in range(540, 901, 60):
        mark = marker()
        words = " ".join(f"word{number:03d}" for number in range(size // 8 + 1))
        text = f"{mark} {words}"[: size - 1] + "."
        yield Message(mark, text, text)
    yield plain("@@ " + "a1b2c3d4" * 75)()  # no URL: aider asks a person whether to fetch one


def lines(session: Session) -> Iterator[Message]:
    """As many lines as the screen has, and some more and less."""
    del session
    for count in (18, 20, 22, 24, 27, 30):
        yield plain("@@\n" + "\n".join(f"line {number} of {count}" for number in range(2, count + 1)))()


MENTIONS = (
    "@@ see @OUT please",
    "@@ see @OUT",
    "@@ see @~/outside.txt please",
    '@@ see @"OUT" please',
    "@@ see x@OUT please",
    "@@ see @./notes.txt please",
    "@@ see @sub/a.py",
    "@@ see @not",
    "@@ see @not please",
    "@@ npm i @openai/codex, a@b.example",
)
"""Texts with an `@` before what may be a file's name; `OUT` is the path of one outside of the UI's directory."""


def mentioning(session: Session, text: str) -> Message:
    """The message of one of `MENTIONS`; the files that they name are there, and hold markers of its own."""
    outside, far, near = session.home / "outside.txt", file_marker(), file_marker()
    (session.cwd / "sub").mkdir(exist_ok=True)
    for file, mark in ((outside, far), (session.cwd / "notes.txt", near), (session.cwd / "sub" / "a.py", near)):
        file.write_text(f"# {mark}\n", encoding="utf-8")
    return replace(plain(text.replace("OUT", str(outside)))(), files=(far,), near=(near,))


def mentions(session: Session) -> Iterator[Message]:
    """Files that exist, behind an `@`: none from elsewhere is handed over to the model, and no text changes."""
    for text in MENTIONS:
        yield mentioning(session, text)


GROUPS = {
    "commands": commands,
    "leading": leading,
    "options": options,
    "images": images,
    "emoji": emoji,
    "long": long,
    "lines": lines,
    "mentions": mentions,
}


def odd(name: str) -> Round:
    """The round of the group called `name`: each of its texts once, and a plain one behind each."""

    def run(session: Session, count: int) -> list[Outcome]:
        del count
        sent: list[tuple[Message, Outcome]] = []
        for message in GROUPS[name](session):
            outcome = judge(session, message, deliver(session, message.text, patience=8), limit=30)
            if not outcome.good:
                outcome.notes.append("screen: " + session.shows())
            following = plain("@@ is the next one")()
            after = judge(session, following, deliver(session, following.text, patience=8), limit=30)
            sent += [(message, outcome), (following, after)]
            if not outcome.good or not after.good:
                after.notes.append("screen: " + session.shows())
                session.again()
                session.ready()
            session.server.still(session.pane, quiet=0.3, limit=6)
        return settle(session, sent)

    return run


LONE = ("/clear", "/new", "/exit", "/quit")
"""What ends or empties a conversation in one UI or another, if it is all that is said."""

PREAMBLE = "[here:trial -> far:agent] "


def lone(word: str) -> Round:
    """The round of one word of `LONE`: as it stands and behind a preamble, in turn, in one conversation.

    None may empty or end it: what the model is told behind them must still hold what was said before them.
    """

    def run(session: Session, count: int) -> list[Outcome]:
        before, after = plain("@@ comes before")(), plain("@@ comes behind")()
        pairs = [[alone(word), alone(PREAMBLE + word)] for _ in range(count)]
        outcomes: list[Outcome] = []
        anew = False
        for messages in ([before], *pairs, [after]):
            sent: list[tuple[Message, Outcome]] = []
            for message in messages:
                outcome = judge(session, message, deliver(session, message.text))
                sent.append((message, outcome))
                anew = unstick(session, outcome) or anew
                session.server.still(session.pane, quiet=0.4, limit=8)
            outcomes += settle(session, sent)
        if not anew and not session.truth.together(before, after):
            outcomes[-1].intact = False
            outcomes[-1].notes.append("the conversation no longer holds what was said before")
        return outcomes

    return run
