"""What a supervisor is told: systemd's notification protocol (sd_notify(3)), one datagram a message."""

import contextlib
import os
import socket
from collections.abc import Mapping


class Supervisor:
    """The supervisor that started this process, if it listens."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`."""
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of Linux's abstract socket names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = self._watchdog(environment) if address else None

    @staticmethod
    def _watchdog(environment: Mapping[str, str]) -> float | None:
        """After how many seconds without `WATCHDOG=1` this process is killed; None where nobody watches it."""
        if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        with contextlib.suppress(ValueError):
            return int(environment.get("WATCHDOG_USEC", "")) / 1e6 or None
        return None

    def tell(self, *assignments: str) -> bool:
        """Send `READY=1` and the like; false if nobody heard it, which is never worth failing for."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return False
        return True
