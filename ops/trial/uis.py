"""The agent UIs of the trial: what is installed of each, how it is started, and what is peculiar to it."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ops.trial import setups
from ops.trial.installing import Package
from ops.trial.setups import Start

ESCAPE = ("Escape",)


def _no_tabs(text: str) -> str:
    return text.replace("\t", "    ")


def _by_omp(text: str) -> str:
    """A notice goes in front of what comes while it works; pastes are composed, and a tab is three blanks."""
    text = re.sub(r"(?s)^<system-notice>.*?</system-notice>\s*", "", text)
    return unicodedata.normalize("NFC", text.replace("\t", "   "))


def _by_qwen(text: str) -> str:
    """It takes a text apart at each `@`, and puts a blank before one that has none."""
    return re.sub(r"(?<=[^ \\])@", " @", text)


def _by_copilot(text: str) -> str:
    """The time goes in front, and behind it the names of the files that it mentions."""
    text = re.sub(r"^<current_datetime>.*?</current_datetime>\s*", "", text)
    return _no_tabs(re.sub(r"(?s)\s*<tagged_files>.*?</tagged_files>\s*$", "", text))


def _no_end_of_paste(text: str) -> str:
    return re.sub(r"(0[01])~", r"\1 ~", text)


@dataclass(frozen=True)
class UI:
    """One agent UI.

    `package` is what npm or pip installs. `set_up(home, cwd, base)` writes its configuration and says how to start it.
    `own_texts` match what the UI itself tells the model beside what a person typed. `overlays` are the keys that open
    and that close its menus and viewers, in which typed text would do who knows what, and what each is.
    `loaded` is a pattern that its screen shows once it listens. `asks_at_first`: what it shows in a new home before it
    does, and the keys that answer it. `moved` is one that a dialog shows if the keys of a
    message moved it, and Escape takes it back. `changes` is what the UI makes of any text that is
    pasted into it. `guards` are what its profile may put before or behind a text, beside spaces, so that it stays text.
    `asks`: whether it ever asks before it runs a command. `tools`: whether it offers the model any, which tells what a
    person said from side requests, such as making a title. `commands` are some of its own: each must arrive as text.
    `clears` are the keys that delete some of a draft, each of which comes by itself.
    """

    name: str
    package: Package
    set_up: Callable[[Path, Path, str], Start]
    own_texts: tuple[str, ...] = ()
    overlays: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = ()
    loaded: str = r"\S"
    asks_at_first: tuple[tuple[str, tuple[str, ...]], ...] = ()
    moved: str = ""
    changes: Callable[[str], str] = str
    guards: tuple[str, ...] = ("> ",)
    apart: bool = False  # its profile has `mentions`
    asks: bool = True
    tools: bool = True
    commands: tuple[str, ...] = ("/clear", "/compact", "/help", "/model", "/exit")
    clears: tuple[tuple[str, ...], ...] = (("C-e",), ("-N", "15", "BSpace"))

    def is_own(self, text: str) -> bool:
        """Does `text` come from the UI itself?"""
        return any(re.match(pattern, text, re.DOTALL) for pattern in self.own_texts)

    def newest(self) -> "UI":
        """The same UI in the version that the registry serves today."""
        return replace(self, package=self.package.newest())


UIS = {
    ui.name: ui
    for ui in (
        UI(
            "codex",
            Package("@openai/codex", "0.171.0", "codex"),
            setups.codex,
            loaded=r" · [/~]",
            own_texts=(
                r"<environment_context>",
                r"# AGENTS\.md",
                r"<user_instructions>",
                r"<permissions",
                r"<turn_aborted>",
                r"</?image\b",
                r"</?image\b",
            ),
            overlays=(
                (("/model", "Enter"), ESCAPE, "the choice of a model"),
                (("/permissions", "Enter"), ESCAPE, "the choice of permissions"),
                (("C-t",), ("q",), "the transcript viewer"),
            ),
        ),
        UI(
            "opencode",
            Package("opencode-ai", "1.18.33", "opencode"),
            setups.opencode,
            own_texts=(
                r"ERROR: Cannot read ",  # of an image, as the stand-in is not known to see any
                r"<system-reminder>",  # in plan mode, beside what was sent
            ),
            moved="Always allow",
            overlays=(
                (("C-p",), ESCAPE, "the command palette"),
                (("/models", "Enter"), ESCAPE, "the choice of a model"),
            ),
        ),
        UI(
            "claude",
            Package("@anthropic-ai/claude-code", "2.1.332", "claude"),
            setups.claude,
            apart=True,
            own_texts=(
                r"\s*<system-reminder>",
                r"\[Request interrupted",
                r"<(local-)?command-",
                r"\[Image: source: ",
            ),
            changes=lambda text: unicodedata.normalize("NFC", _no_tabs(text)),
            overlays=(
                (("/model", "Enter"), ESCAPE, "the choice of a model"),
                (("C-o",), ("C-o",), "the transcript viewer"),
                (("C-r",), ESCAPE, "the search in the history"),
                (("/help", "Enter"), ESCAPE, "the help"),
            ),
        ),
        UI(
            "gemini",
            Package("@google/gemini-cli", "0.61.0", "gemini"),
            setups.gemini,
            apart=True,
            own_texts=(r"This is the Gemini CLI", r"<session_context>"),
            guards=("> ", " ."),
            overlays=(
                (("/model", "Enter"), ESCAPE, "the choice of a model"),
                (("/settings", "Enter"), ESCAPE, "the settings"),
                (("C-r",), ESCAPE, "the search in the history"),
            ),
        ),
        UI(
            "pi",
            Package("@earendil-works/pi-coding-agent", "1.6.0", "pi"),
            setups.pi,
            changes=_no_tabs,
            asks=False,
            overlays=(((("/model", "Enter")), ESCAPE, "the choice of a model"),),
        ),
        UI(
            "aider",
            Package("aider-chat", "0.86.2", "aider", "pip"),
            setups.aider,
            loaded=r"^(?:\w+)?> ?$",
            changes=_no_tabs,
            tools=False,
        ),
        UI(
            "ipython",
            Package("ipython", "9.18.1", "ipython", "pip"),
            setups.ipython,
            loaded=r"In \[\d+\]:",
        ),
        UI(
            "copilot",
            Package("@github/copilot", "1.0.102", "copilot"),
            setups.copilot,
            loaded=r"^❯ ?$",
            own_texts=(r"<system_reminder>", r"<system_notification>"),
            changes=_by_copilot,
        ),
        UI(
            "qwen",
            Package("@qwen-code/qwen-code", "0.24.4", "qwen"),
            setups.qwen,
            apart=True,
            changes=_by_qwen,
            loaded=r"^> ",
            own_texts=(r"<system-reminder>", r"<session_context>", r"Managed memory has ", r"\[SUGGESTION MODE"),
        ),
        UI(
            "cline",
            Package("cline", "3.0.65", "cline"),
            setups.cline,
            apart=True,
            loaded=r"❯ ",
            asks_at_first=((r"any other key to close", ESCAPE),),
            changes=lambda text: re.sub(r"(?<!\S)//(?=[\w.-]+(?!\S))", "/", text.replace("\r", "\n")),
            own_texts=(r"<file_content path=",),  # of a file in its directory that is named behind an `@`
        ),
        UI(
            "kilo",
            # `@kilocode/cli` only installs this one, of the same version, and is served in newer ones than it is.
            Package("@kilocode/cli-linux-x64", "7.7.9", "kilo", inside="node_modules/@kilocode/cli-linux-x64/bin"),
            setups.kilo,
            own_texts=(r"ERROR: Cannot read ", r"\s*<environment_details>"),
            moved="Always allow",
        ),
        UI(
            "kimi",
            Package("@moonshot-ai/kimi-code", "2.1.0", "kimi"),
            setups.kimi,
            loaded=r"│ > ",
            own_texts=(r"<system", r"<git-context>"),
            changes=_no_tabs,
            asks_at_first=((r"Trust this folder\?", ("Enter",)),),
        ),
        UI(
            "vibe",
            Package("mistral-vibe", "3.0.2", "vibe", "pip", python="3.12"),
            setups.vibe,
            apart=True,
            loaded=r"^> ",
        ),
        UI(
            "hermes",
            Package("hermes-agent", "0.19.0", "hermes", "pip"),
            setups.hermes,
            loaded=r"^❯ ?$",
            own_texts=(r"Review the conversation above",),
            changes=_no_end_of_paste,
        ),
        UI(
            "omp",
            Package("@oh-my-pi/pi-coding-agent", "18.2.3", "omp", beside=("bun@1.4.5",)),
            setups.omp,
            apart=True,
            loaded=r"^╰─",
            changes=_by_omp,
            own_texts=(r"<system-reminder>",),
        ),
        UI(
            "cn",
            Package("@continuedev/cli", "1.5.47", "cn"),
            setups.cn,
            loaded=r"│ ● ",
            guards=("> ", " ."),
            # Several backspaces at once, or one in an empty box, are text to it, which its box does not show.
            clears=(("C-u",), ("BSpace",)),
        ),
    )
}
