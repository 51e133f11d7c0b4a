"""What stands in the rows of `top`, and rows put into a table that is already shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from textual.widgets import DataTable

from worker import times
from worker.view.agents import AgentView, sparkline
from worker.view.panes import PaneState
from worker.view.plain import one_line

_COLORS = {"dead": "red", "held": "yellow", "retrying": "yellow", "running": "blue", "waiting": ""}
_PANE_COLORS = {"idle": "green", "busy": "blue", "draft": "yellow", "dialog": "red", "gone": "red", "refused": "red"}


def agent_cells(one: AgentView, pane: PaneState, *, wide: bool, now: float) -> tuple[Text, ...]:
    """The row of an agent; `wide`: names and hours in full."""
    return (
        _cell(one.name, 30 if wide else 18),
        Text(pane.word, style=_PANE_COLORS.get(pane.word, "")),
        _cell(_waits(one), 20 if wide else 16),
        _cell("" if one.oldest_at is None else _age(now - one.oldest_at), 6),
        _cell("never" if one.delivered_at is None else _age(now - one.delivered_at), 6),
        Text(sparkline(one.hours if wide else _pairs(one.hours))),
    )


DELIVERY_COLUMNS = {"STATE": 8, "AGE": 4, "VIA": 12}
"""How wide each is; the message has the rest of the line."""

_PADDING = 2  # columns around each cell


def rest_of(columns: int) -> int:
    """How many columns of a screen are left for the message."""
    return max(20, columns - sum(DELIVERY_COLUMNS.values()) - _PADDING * (len(DELIVERY_COLUMNS) + 1))


def delivery_cells(one: Mapping[str, Any], text: str, *, now: float, width: int) -> tuple[Text, ...]:
    """The row of a delivery, as the JSON of `queue` has it, two lines high; `text`: its message's first line."""
    return (
        Text(one["state"], style=_COLORS.get(one["state"], "")),
        _cell(_age(now - times.seconds(one["received_at"])), 4),
        _cell(one["transport"], 12),
        Text(f"{one_line(text, width) or '-'}\n{one_line(one['words'], width)}"),
    )


def _age(seconds: float) -> str:
    """An age in few columns: `42s`, `7m`, `3h`, `5d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _pairs(hours: tuple[int, ...]) -> tuple[int, ...]:
    """Half as many columns: two hours in each."""
    return tuple(map(sum, zip(hours[::2], hours[1::2], strict=True)))


def _cell(text: str, width: int) -> Text:
    return Text(one_line(text, width))


def _waits(one: AgentView) -> str:
    """`3`, or with what needs somebody: `3 1dead`."""
    parts = [str(one.waits), *(f"{one.counts[state]}{state}" for state in ("dead", "held") if one.counts[state])]
    return " ".join([*parts, *(["paused"] if one.paused else [])])


def chosen_in(table: DataTable[Text]) -> str:
    """The key of the row that the cursor is on; empty: there is none."""
    if not table.row_count or table.cursor_row >= table.row_count:
        return ""
    return str(table.coordinate_to_cell_key((table.cursor_row, 0)).row_key.value)  # type: ignore[arg-type] # a pair does


def fill(table: DataTable[Text], rows: Sequence[tuple[str, tuple[Text, ...]]], *, height: int = 1) -> None:
    """Show these rows in this order, each of `height` lines; the cursor stays on the row that it is on."""
    if [key.value for key in table.rows] == [key for key, _ in rows]:
        for key, cells in rows:
            for column, cell in zip(table.columns, cells, strict=True):
                if table.get_cell(key, column) != cell:
                    table.update_cell(key, column, cell, update_width=True)
        return
    chosen, keys = chosen_in(table), [key for key, _ in rows]
    stays = chosen in keys
    with table.prevent(*[DataTable.RowHighlighted] * stays):  # nobody has chosen another
        table.clear()
        for key, cells in rows:
            table.add_row(*cells, key=key, height=height)
        if stays:
            table.move_cursor(row=keys.index(chosen))
