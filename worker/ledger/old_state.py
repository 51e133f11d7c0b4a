"""The old watcher's ledger, taken over once: `{"delivered": ["1795300087770-0", ...]}`, perhaps cut short."""

import logging
import re
from pathlib import Path

from worker.ledger.history import NOT_YET
from worker.ledger.port import Ledger, Tx
from worker.settings import Settings

logger = logging.getLogger("bus_watch.ledger")

_ID = re.compile(rb'"(\d{1,18})-(\d{1,18})"')
MAX_BYTES = 64 * 1024 * 1024


def import_old_state(database: Ledger, settings: Settings) -> int:
    """Import the old state file where there is one and it has not been done; returns how many ids it held.

    Its ids never run again, and its smallest one is the inbox's floor: nothing older runs. The file stays as it was.
    It knew one agent: the first of the configuration. A damaged file is read as far as it goes, with a warning.
    """
    old = settings.state_file
    if old == settings.ledger_file or not old.exists():
        return 0
    agent = settings.agents[0].agent
    done = database.read(
        lambda db: db.execute("select 1 from inboxes where agent = ? and imported <> 0", (agent,)).fetchone()
    )
    if done:
        return 0
    ids = _read(old)
    database.write(lambda tx: _import(tx, agent, ids))
    logger.info("took over %d delivered id(s) from %s; the file stays as it was", len(ids), old)
    return len(ids)


def _read(path: Path) -> list[tuple[int, int]]:
    if not path.is_file():  # a FIFO would wait for ever
        logger.warning("the old state %s is no regular file: nothing is taken over", path)
        return []
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES)
    except OSError as error:
        logger.warning("the old state %s cannot be read (%s): nothing is taken over", path, error.strerror)
        return []
    # Ids are found one by one, not by parsing JSON: a file that was cut short still says most of what it knew.
    ids = sorted({(int(ms), int(seq)) for ms, seq in _ID.findall(data)})
    if not data.strip():
        logger.warning("the old state %s is empty: nothing is taken over", path)
    elif not data.rstrip().endswith(b"}"):
        logger.warning("the old state %s is cut short: %d id(s) could be read", path, len(ids))
    return ids


def _import(tx: Tx, agent: str, ids: list[tuple[int, int]]) -> None:
    tx.execute(
        """
        insert into inboxes (agent, floor_ms, imported) values (:agent, :floor, 1)
        on conflict (agent) do update set imported = 1,
          floor_ms = case when inboxes.floor_ms > :floor then inboxes.floor_ms else :floor end
        """,
        {"agent": agent, "floor": ids[0][0] if ids else NOT_YET},
    )
    tx.executemany(
        "insert into imported (agent, ms, seq) values (?, ?, ?) on conflict do nothing", [(agent, *one) for one in ids]
    )
