"""How often a pane is looked at while something is waited for. Pure."""

SLOWEST = 0.08  # seconds between two looks at a pane, once it has been waited for a while
_QUICKEST = 0.012


def pace(waited: float) -> float:
    """Seconds until the next look, after `waited` seconds: most UIs answer at once, and the others take their time."""
    return min(SLOWEST, max(_QUICKEST, waited / 4))
