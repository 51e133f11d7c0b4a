"""The application: poll, deliver, finalize and sweep, put together from ledger, bus and transports."""

from worker.engine.engine import Engine
from worker.engine.wake_ups import Queue

__all__ = ["Engine", "Queue"]
