"""Why a person could not be told: what a telling ends with."""

from worker.delivery import EX_UNAVAILABLE
from worker.errors import BusWatchError


class CannotTellError(BusWatchError):
    """A person could not be told by this channel; it is tried again."""

    code = "alert"


class NobodyThereError(CannotTellError):
    """The channel is not there now: no network, no desktop."""

    code = "alert-unreachable"
    exit_status = EX_UNAVAILABLE


class RefusedError(CannotTellError):
    """The channel does not take this alert, now or ever."""

    code = "alert-refused"
    exit_status = 65
