"""A server that was restored, or another that took over, may have forgotten what ran: what was to run is held."""

from contextlib import closing

import psycopg

from tests.fakes.inbox import message
from tests.world.ledgers import at
from tests.world.postgres import running_server
from tests.world.waiting import until
from worker.ledger import intake, lanes, server_health, timeline
from worker.ledger.port import Tx
from worker.ledger.postgres_url import parameters
from worker.secret import Secret


def _paused(db: Tx) -> dict[str, int]:
    return {row["transport"]: row["paused"] for row in db.execute("select transport, paused from lanes")}


def test_another_timeline_holds_what_was_to_run_until_a_person_resumes_it() -> None:
    with running_server(durable=True) as server:
        url = server.fresh("line")
        with closing(at(url)) as ledger:
            ledger.write(lambda tx: intake.take_in(tx, "a", [message(1)], lambda _: (None, ["busy"]), 1.0))
            ledger.write(lambda tx: intake.ensure_lane(tx, "a", "idle"))
        server.stop()
        server.start()
        with closing(at(url)) as ledger:
            ledger.write(lambda tx: tx.now())
            assert ledger.read(_paused) == {"busy": 0, "idle": 0}, "a restart is no other history"
        assert [fault.words for fault in server_health.faults(parameters(Secret(url)))] == []
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        with server.connect() as connection:
            connection.execute("select pg_promote()")
            until(lambda: connection.execute("select not pg_is_in_recovery()").fetchone() == (True,), "the promotion")
        with closing(at(url)) as ledger:
            ledger.write(lambda tx: tx.now())
            assert ledger.read(_paused) == {"busy": 1, "idle": 0}
            change = ledger.read(timeline.change)
            assert change is not None
            assert change.held == 1
            ledger.write(lambda tx: lanes.set_paused(tx, "busy", None, paused=False))
            assert ledger.read(timeline.change) is None
        with closing(at(url)) as ledger:
            ledger.write(lambda tx: tx.now())
            assert ledger.read(_paused) == {"busy": 0, "idle": 0}, "it is held once"


def test_an_asynchronous_standby_is_told_of() -> None:
    with running_server(durable=True) as server:
        given = parameters(Secret(server.url()))
        url = server.url() + "&replication=database&application_name=spare"
        with closing(psycopg.connect(url, autocommit=True)) as spare:
            with server.connect() as connection:
                (now,) = connection.execute("select pg_current_wal_lsn()::text").fetchone() or ("",)
            spare.pgconn.send_query(f"START_REPLICATION PHYSICAL {now}".encode())
            words = until(lambda: [fault.words for fault in server_health.faults(given)], "the standby")
        assert len(words) == 1
        assert words[0].startswith("standby spare is asynchronous")
