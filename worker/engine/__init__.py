"""The application: poll, deliver, finalize and sweep, put together from ledger, bus and transports."""

from worker.engine.context import Engine, Wakeups

__all__ = ["Engine", "Wakeups"]
