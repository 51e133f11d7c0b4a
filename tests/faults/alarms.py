"""Alerts that come and go while workers are killed: who tells people keeps the record, and the verdict is on that."""

import sys
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes import hurried_consumer
from tests.fakes.push import FakePush
from tests.faults.kills import kill_at_random
from tests.faults.lanes import Lanes
from tests.faults.record import Verdict
from tests.world.processes import ROOT
from tests.world.waiting import until

CLOSE_AFTER = 0.5
TOKEN = "tk_of1the2topic"


class Alarms(Lanes):
    """Lanes of which the first finds nobody there, by turns; a webhook and an ntfy topic are told."""

    consumer_command = (sys.executable, "-m", hurried_consumer.__name__)

    def __init__(self, home: Path, *, lanes: int = 3, seed: int = 1) -> None:
        self.hook, self.phone = FakePush(), FakePush(TOKEN)
        files = {name: home / ".sos" / name for name in ("hook", "topic", "topic-token")}
        channels = [
            {"name": "hook", "type": "webhook", "url_file": str(files["hook"])},
            {
                "name": "phone",
                "type": "ntfy",
                "url_file": str(files["topic"]),
                "token_file": str(files["topic-token"]),
            },
        ]
        alerts = {"channels": channels, "close_after": CLOSE_AFTER}
        super().__init__(home, lanes=lanes, seed=seed, settings={"alerts": alerts})
        self.env["PYTHONPATH"] = str(ROOT)
        self.write_private(files["hook"], f"{self.hook.url}/hook/a")
        self.write_private(files["topic"], f"{self.phone.url}/topic")
        self.write_private(files["topic-token"], TOKEN)
        self.absent = home / "absent"
        way = self._agents[0]["transports"][0]
        there = self.script("if-there", f'[ ! -e {self.absent} ] || exit 69\nexec {self.wake} "$@"')
        way |= {"command": [there, *way["command"][1:]], "stuck_after": 0.5, "retry_delay": 0.2}
        self.configure(*self._agents, **self._settings)

    def __enter__(self) -> Self:
        self.hook.__enter__()
        self.phone.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.hook.__exit__(kind, error, trace)
        self.phone.__exit__(kind, error, trace)

    def owed(self) -> int:
        """How many messages there are to be: what was sent, and what is told."""
        return super().owed() + self.count("select count(*) from messages where agent = '@alerts'")

    def turn(self) -> None:
        """Once people are told that nobody is there, somebody is; once they are told of that, nobody."""
        is_open = self.count("select count(*) from alerts")
        if is_open and self.absent.exists():
            self.absent.unlink()
        elif not is_open and not self.absent.exists():
            self.absent.touch()
            self.feed(1, agent="a0")

    def campaign(self, *, kills: int, messages: int, consumers: int = 1, say: bool = False) -> tuple[Verdict, "Tally"]:
        """Kill; then mend everything, and judge what was delivered and what was told."""
        left = kills

        def between() -> None:
            nonlocal left
            left -= 1
            if left:
                self.turn()
            else:
                self.absent.unlink(missing_ok=True)

        self.turn()
        verdict = kill_at_random(self, kills=kills, messages=messages, consumers=consumers, say=say, between=between)
        until(lambda: not self.count("select count(*) from alerts"), "all alerts to be over", 120)
        self.drain()
        return verdict, Tally(self.hook, self.phone)


class Tally:
    """What arrived at those who tell people: `alerts` counts those that were opened, `wrong` says what is wrong."""

    def __init__(self, hook: FakePush, phone: FakePush) -> None:
        events = [(one.json["alert"], one.json["event"]) for one in hook.taken]
        self.alerts = len({alert for alert, _ in events})
        self.wrong = [f"{alert} was {event} {n} times" for (alert, event), n in Counter(events).items() if n != 1]
        for alert in dict.fromkeys(alert for alert, _ in events):
            order = [event for one, event in events if one == alert]
            if order != ["opened", "closed"]:
                self.wrong.append(f"{alert} was {' and then '.join(order)}")
        titles = Counter(one.json["title"].endswith("(over)") for one in phone.taken)
        if titles != Counter({False: self.alerts, True: self.alerts}):
            self.wrong.append(f"ntfy was told of {titles[False]} beginnings and {titles[True]} ends")

    def words(self) -> str:
        """The figures on one line, and the first few of what is wrong."""
        return f"{self.alerts} alerts, each opened once and closed once: {len(self.wrong)} not" + "".join(
            f"\n  {one}" for one in self.wrong[:5]
        )
