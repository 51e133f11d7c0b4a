"""A message's story, on a screen of its own."""

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from worker.view.timeline import lines


class StoryScreen(ModalScreen[None]):
    """The story of one message."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "dismiss", "back")]

    def __init__(self, story: dict[str, Any]) -> None:
        """`story`: as `show --json` has it."""
        super().__init__()
        self._story = story

    def compose(self) -> ComposeResult:
        """The time line, which scrolls."""
        with VerticalScroll(id="story"):
            yield Static(Text("\n".join(lines(self._story))), id="story-text")
        yield Footer()
