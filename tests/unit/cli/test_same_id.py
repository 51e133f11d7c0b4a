"""Ids repeat across streams: what `queue` prints as a message's key is that message's alone."""

import time

from tests.unit.cli.conftest import MS, STREAM, Desk
from worker.bus.wire import InboxMessage
from worker.configuration import load
from worker.ledger import intake
from worker.ledger.sqlite import SqliteLedger
from worker.web import model


def test_a_key_is_whole_where_the_short_one_is_anothers_too(desk: Desk) -> None:
    other = f"{STREAM}:of-a-project"
    database = SqliteLedger(desk.ledger)
    twin = InboxMessage(other, f"{MS}-0", MS, 0, "agent:eve", "the twin", None, None, None)
    database.write(lambda tx: intake.take_in(tx, "bob", [twin], lambda _: (None, ["dies"]), time.time()))
    database.close()
    keys = {one["key"] for one in desk.run("queue", "--json").json["deliveries"] if one["id"] == f"{MS}-0"}
    assert keys == {f"bob/{STREAM}/{MS}-0", f"bob/{other}/{MS}-0"}
    shown = {one["key"]: one["first_line"] for one in model.waiting(load(desk.config), "bob")}
    assert shown[f"bob/{other}/{MS}-0"] == "the twin"
    assert f"bob/{MS + 1}-0" in shown
    assert desk.run("drop", f"bob/{other}/{MS}-0", "--transport", "dies").status == 0
