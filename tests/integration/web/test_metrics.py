"""`/metrics` on the web view: for who has a token, from the ledger, or from what the worker writes."""

import json
from pathlib import Path

from tests.integration.web.conftest import Site
from worker.configuration import load
from worker.view.metrics import exposition
from worker.web.tokens import Kind


def test_a_scraper_with_a_token_is_answered_and_nobody_else(site: Site) -> None:
    assert site.ask("/metrics").status == 401
    answer = site.ask("/metrics", {"Authorization": f"Bearer {site.tokens.new(Kind.READER)}"})
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE bus_watch_backlog gauge" in answer.text
    assert 'bus_watch_deliveries{agent="bob"' in answer.text


def test_what_the_worker_counts_goes_before_what_the_ledger_tells(site: Site, tmp_path: Path) -> None:
    counted = tmp_path / "out.prom"
    document = json.loads(site.desk.config.read_text())
    site.desk.config.write_text(json.dumps(document | {"metrics_file": str(counted)}))
    settings = load(site.desk.config)
    assert b"bus_watch_backlog" in exposition(settings), "no worker has written it yet"
    counted.write_bytes(b"bus_watch_info 1\n")
    assert exposition(settings) == b"bus_watch_info 1\n"
