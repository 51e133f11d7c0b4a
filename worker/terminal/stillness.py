"""What looks at a pane, one after the other, say of its box: still, settled, or in the way. Pure.

A UI that draws for ever (a clock, a spinner) never holds still as a whole, and has its cursor elsewhere at times: only
the box counts, and a look that shows no box says nothing of it.
"""

_BARRED = 0.25  # seconds for which a draft or a dialog must be seen before the message is deferred for it
_PATIENCE = 2.0  # seconds for which a screen may stay unknown before the message is deferred


class Stillness:
    """Times are seconds of the monotonic clock."""

    def __init__(self, now: float) -> None:
        self.began = self._since = self._fit_since = self._fit_at = now
        self._last: object = None
        self._last_fit: object = None

    def saw(self, state: str, sign: object, now: float, *, fit: bool, young: bool) -> bool:
        """Take in a look; whether it is another one than the last.

        Args:
            state: the screen's; see `screen.Judgement`.
            sign: what must stay the same.
            now: when.
            fit: whether it may be typed into.
            young: whether the program may still be starting; then nothing is forgiven.
        """
        if sign != self._last_fit and (fit or young or state != "unknown"):
            self._last_fit, self._fit_since = sign, now
        if fit:
            self._fit_at = now
        if sign == self._last:
            return False
        self._last, self._since = sign, now
        return True

    def of_fit(self, now: float) -> float:
        """Seconds for which a box that may be typed into has been the same."""
        return now - self._fit_since

    def settled(self, now: float) -> bool:
        """Whether the last looks were the same for long enough to believe them."""
        return now - self._since >= _BARRED

    def bars(self, state: str, now: float) -> bool:
        """Whether the message must wait: for a draft or a dialog, or since nothing is recognised for too long."""
        lost = state == "unknown" and now - self._fit_at > _PATIENCE
        return self.settled(now) and (lost or state in {"draft", "dialog"})
