"""Somebody else's text, made fit to be shown."""


def one_line(text: object, width: int) -> str:
    """Text that came from somewhere else, made safe for a terminal and short enough for a column."""
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return plain if len(plain) <= width else plain[: max(0, width - 1)] + "…"
