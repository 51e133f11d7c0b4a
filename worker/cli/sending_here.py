"""Sending from the outbox in a command's own process: where no worker listens, and for probes."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from worker.bus.client import BusClient
from worker.engine.identity import Identity
from worker.engine.inboxes import Inboxes
from worker.engine.outbox import Outbox
from worker.ledger import outbox, this_host, upkeep
from worker.ledger.errors import LedgerError
from worker.ledger.outbox import Head
from worker.ledger.port import Ledger, Row
from worker.outgoing import PENDING, Sending
from worker.settings import Settings
from worker.telemetry.redact import redact


def send(settings: Settings, database: Ledger, number: int) -> Row:
    """Send what comes before this message to the same recipient, then itself; each is tried once. Its row.

    LedgerError; a bus that does not take it is no error: it is kept.
    """
    with _sender(settings, database) as sender:
        sender.recover()
        row = database.read(lambda db: outbox.find(db, number))
        tried: set[int] = set()
        while row["state"] in PENDING:
            agent, recipient = row["agent"], row["recipient"]
            (head,) = database.read(lambda db, a=agent, r=recipient: outbox.heads(db, a, r))  # type: ignore[misc]
            if head.id in tried or head.state == Sending.SENDING:
                break
            tried.add(head.id)
            sender.send(head)
            row = database.read(lambda db: outbox.find(db, number))
        return row


def probe(settings: Settings, database: Ledger, number: int) -> Row:
    """Send a probe, which waits behind nothing and is not kept. Its row."""
    with _sender(settings, database) as sender:
        row = database.read(lambda db: outbox.find(db, number))
        sender.send(Head(number, row["agent"], row["recipient"], row["state"], None, None, None))
        return database.read(lambda db: outbox.find(db, number))


@contextmanager
def _sender(settings: Settings, database: Ledger) -> Iterator[Outbox]:
    """An outbox of this process, whose life others can see: what it leaves half done they recover."""
    host = this_host.establish(settings)
    identity = Identity(settings.files_dir, "send", host, ahead=lambda: database.now() - time.time())
    identity.take_lock()
    client = BusClient(max_connections=2)
    try:
        database.write(lambda tx: identity.register(tx, tx.now()))
        yield Outbox(
            settings=settings,
            db=database,
            identity=identity,
            inboxes=Inboxes(client, settings.config_path),
            clock=database.now,
            rng=random.Random(),  # noqa: S311 - jitter, not secrets
            redact=redact,
            stopping=threading.Event(),
        )
    finally:
        client.close()
        with contextlib.suppress(LedgerError):  # then the sweep finds the lock free, and writes it down
            database.write(lambda tx: upkeep.note_stop(tx, identity.worker, tx.now()))
        identity.release_lock()
