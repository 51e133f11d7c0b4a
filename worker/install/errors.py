"""What can go wrong while setting up."""

from worker.errors import BusWatchError


class InstallError(BusWatchError):
    """Nothing was written; the message says what stands in the way, and the way round it."""

    code = "install"
