"""Lines on a screen of their own: a message's story, what `doctor` found, the keys."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static


class LinesScreen(ModalScreen[None]):
    """Lines, which scroll, until somebody has read them."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "dismiss", "back")]

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        """The lines."""
        with VerticalScroll(id="story"):
            yield Static(Text("\n".join(self._lines)), id="story-text")
        yield Footer()
