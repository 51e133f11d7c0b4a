"""Messages of the outbox as commands show them: a list, or one with its whole story."""

from collections.abc import Sequence

from worker import times
from worker.cli import output
from worker.cli.sending import as_json
from worker.ledger.port import Row
from worker.outgoing import key_of
from worker.view.plain import one_line

TEXT_SHOWN = 2000
FIELDS = ("state", "reason", "remark", "from", "to", "class", "answers", "message", "outcome", "attempts")


def show_list(rows: Sequence[Row], *, json_wanted: bool) -> int:
    """Print them, one a line."""
    if json_wanted:
        output.print_json([as_json(row) for row in rows])
        return 0
    cells = [
        (
            times.ago(row["created_at"]),
            key_of(row["id"]),
            row["agent"],
            one_line(row["recipient"], 30),
            row["state"],
            _words(row),
        )
        for row in rows
    ]
    headings = ("WRITTEN", "KEY", "FROM", "TO", "STATE", "WHAT BECAME OF IT")
    output.write((output.table(cells, headings) if cells else "nothing") + "\n")
    return 0


def _words(row: Row) -> str:
    if row["message_id"] is not None:
        outcome = f", {row['outcome']}" if row["outcome"] else ""
        return f"{row['recipient']}/{row['message_id']}{outcome}"
    later = f"; next try {times.ago(row['next_at'])}" if row["next_at"] is not None else ""
    return one_line((row["reason"] or "due now") + later, 400)


def show_one(row: Row, *, json_wanted: bool) -> int:
    """Print one with its text."""
    story = as_json(row) | {"text": row["text"]}
    if json_wanted:
        output.print_json(story)
        return 0
    lines = [f"key: {story['key']}"]
    lines += [f"{name}: {one_line(story[name], 500)}" for name in FIELDS if story[name]]
    lines.append(f"written: {story['created_at']}")
    if story["ended_at"]:
        lines.append(f"ended: {story['ended_at']}")
    if row["text"] is None:
        lines.append("text: cleared by retention")
    else:
        lines += ["text:", *(f"  | {one_line(part, 200)}" for part in row["text"][:TEXT_SHOWN].split("\n"))]
    output.write("\n".join(lines) + "\n")
    return 0
