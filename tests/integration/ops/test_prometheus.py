"""What is offered to Prometheus and Grafana: judged by Debian's own promtool, against what we really measure."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.fakes.inbox import message
from tests.world.processes import ROOT
from worker.delivery import Meaning, State
from worker.ledger import alerts, intake
from worker.ledger.sqlite import SqliteLedger
from worker.settings import AgentSettings, Settings, TransportSettings
from worker.telemetry.metrics import MetricsFile
from worker.telemetry.observer import Ended

FOLDER = ROOT / "ops" / "prometheus"
NOW = time.time()


def promtool(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "ops/test installs promtool, of Debian's package prometheus"
    return subprocess.run(
        [program, *arguments], cwd=FOLDER, input=stdin, text=True, capture_output=True, timeout=100, check=False
    )


def expressions() -> list[str]:
    """Every query of the dashboard and of the rules."""
    dashboard = json.loads((FOLDER / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((FOLDER / "rules.yml").read_text())
    return queries + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


@pytest.fixture
def measured(tmp_path: Path) -> str:
    """What a worker writes that has met everything once."""
    settings = Settings(
        agents=(AgentSettings(agent="bob", transports=(TransportSettings(name="t", command=("/bin/true",)),)),),
        state_path=str(tmp_path / "ledger.db"),
        metrics_file=str(tmp_path / "out.prom"),
    )
    database = SqliteLedger(settings.ledger_file)

    def fill(tx: object) -> None:
        intake.ensure_inbox(tx, "bob", 0)  # type: ignore[arg-type]
        young, old = message(int((NOW - 400) * 1000)), message(int((NOW - 7200) * 1000))
        intake.take_in(tx, "bob", [old, young], lambda _: (None, ["t"]), NOW - 5)  # type: ignore[arg-type]
        alerts.open_one(tx, "stuck", "bob t", "words", NOW)  # type: ignore[arg-type]

    database.write(fill)
    metrics = MetricsFile(settings, database)
    metrics.started("bob", "t", 1, 0.2)
    metrics.ended(
        Ended(
            "bob", "t", f"{int(NOW * 1000) - 3000}-0", 1, 1, Meaning.SUCCESS, "exit 0", State.SUCCEEDED,
            began_failing=False, output="submitted %1 (codex 0.171.0) via codex: seen [proof]\n",
            received_at=NOW - 2.5, started_at=NOW - 2.0, ended_at=NOW,
        )
    )  # fmt: skip
    metrics.unknown_screen("codex", "0.172.0")
    metrics.unknown_channel("codex", "0.172.0")
    metrics.write()
    database.close()
    return (tmp_path / "out.prom").read_text()


def samples(text: str) -> dict[str, float]:
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    }


def test_what_we_write_is_as_prometheus_wants_it(measured: str) -> None:
    done = promtool("check", "metrics", stdin=measured)
    # It cannot know that the sum of a histogram of this moment has a name of its own (`_gsum`).
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "waiting_age_seconds" not in line]
    assert complaints == []


def test_the_times_of_a_wake_by_stage(measured: str) -> None:
    found = samples(measured)
    name = 'bus_watch_wake_seconds_sum{agent="bob",stage="%s",transport="t"}'
    seconds = {stage: round(found[name % stage], 1) for stage in ("bus", "lane", "transport", "whole")}
    assert seconds == {"bus": 0.5, "lane": 0.5, "transport": 2.0, "whole": 2.5}
    assert found['bus_watch_verdicts_total{channel="codex",ui="codex",verdict="submitted",version="0.171.0"}'] == 1
    assert found['bus_watch_alerts_open{about="bob t",condition="stuck"}'] == 1


def test_how_old_what_waits_is(measured: str) -> None:
    found = samples(measured)
    name = 'bus_watch_waiting_age_seconds_bucket{agent="bob",le="%s",transport="t"}'
    assert [found[name % le] for le in ("60.0", "300.0", "1800.0", "21600.0", "+Inf")] == [0, 0, 1, 2, 2]


def test_the_rules_say_what_they_should() -> None:
    checked = promtool("check", "rules", "rules.yml")
    assert checked.returncode == 0, checked.stderr
    tried = promtool("test", "rules", "rules.test.yml")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    named = {
        rule["alert"]
        for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    told = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"][0]["alert_rule_test"]
    assert {one["alertname"] for one in told if one.get("exp_alerts")} == named, "each is tried"


def test_every_query_is_one_and_asks_for_what_we_measure(measured: str, tmp_path: Path) -> None:
    families = {line.split()[2] for line in measured.splitlines() if line.startswith("# TYPE")}
    asked = {name for query in expressions() for name in re.findall(r"\bbus_watch_\w+", query)}
    parts = {family + end for family in families for end in ("", "_bucket", "_sum", "_count")}
    assert asked <= parts
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(expressions())
    ]
    written = tmp_path / "queries.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(written))
    assert done.returncode == 0, done.stdout + done.stderr
