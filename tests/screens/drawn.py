"""Screens that tests draw."""

from worker.terminal.tmux import Look


def look(*lines: str, cursor: tuple[int, int] = (0, 0), on: bool = True, title: str = "") -> Look:
    """A live pane of 40 by 12 that shows these lines."""
    return Look(
        dead=False,
        in_mode=False,
        input_off=False,
        synchronized=False,
        pid=1,
        tty="/dev/pts/1",
        cursor_x=cursor[0],
        cursor_y=cursor[1],
        cursor_on=on,
        width=40,
        height=12,
        title=title,
        screen="\n".join(lines) + "\n",
    )
