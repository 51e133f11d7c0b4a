"""The check of `doctor` on what runs already: everything that the lines of `status` with a `!` say."""

from collections.abc import Iterator

from worker.doctor.finding import Finding
from worker.doctor.troubles import left_over, troubles
from worker.ledger import configured, moved, report
from worker.ledger.errors import LedgerError
from worker.ledger.living import await_sign_of_life, living_workers
from worker.settings import Settings


def check(settings: Settings) -> Iterator[Finding]:
    """What keeps messages from arriving now; nothing where there is no ledger yet, or one that cannot be read."""
    if not configured.is_begun(settings):
        return
    try:
        await_sign_of_life(settings)
        with configured.reading(settings) as db:
            workers = living_workers(db, settings)
            lanes = report.lanes(db)
            found = [one.words for one in troubles(db, settings, workers, lanes, db.now())]
    except LedgerError:
        return  # the check of the ledger has said so
    runs = any(row["kind"] == "consumer" for row in workers)
    if not runs and (elsewhere := moved.runs_elsewhere(settings.files_dir)) is not None:
        found.append(moved.sentence(elsewhere))
    for sentence in found:
        yield Finding("FAIL", "now", sentence)
    for trouble in left_over(lanes):
        yield Finding("note", "now", trouble.words)
    if runs and not found:
        yield Finding("ok", "now", "a worker runs, and nothing is stuck")
