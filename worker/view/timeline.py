"""One message's whole story, as a time line, with the commands that would help."""

from typing import Any

from worker.view.plain import one_line

_HELPS = {
    "dead": "bus-watch retry {key} --transport {transport}   (r)\nbus-watch drop {key} --transport {transport}    (d)",
    "held": "bus-watch retry {key} --transport {transport}   (r: it may be done twice)\n"
    "bus-watch drop {key} --transport {transport}    (d: if it was done)",
    "retrying": "bus-watch retry {key} --transport {transport}   (r: now)",
    "waiting": "bus-watch queue --agent {agent}",
}


def lines(story: dict[str, Any]) -> list[str]:
    """The story in the order in which it happened."""
    short = f"{story['agent']}/{story['id']}"
    found = [
        f"{short}  {story['state']}",
        f"from {one_line(story['source'], 60)}, class {one_line(story['class'] or '-', 60)}",
        f"{story['received_at']}  came",
    ]
    for delivery in story["deliveries"]:
        for attempt in delivery["attempts"]:
            by = f" by {attempt['channel']}" if attempt["channel"] else ""
            found.append(f"{attempt['started_at']}  {delivery['transport']}: attempt {attempt['attempt']} begins{by}")
            if attempt["ended_at"]:
                found.append(f"{attempt['ended_at']}  {delivery['transport']}: {one_line(attempt['result'], 200)}")
            found += [f"    > {one_line(part, 200)}" for part in (attempt["output"] or "").splitlines()[-6:]]
        found.append(f"now  {delivery['transport']}: {delivery['state']}: {one_line(delivery['words'], 600)}")
        if helps := _HELPS.get(delivery["state"]):
            filled = helps.format(key=short, transport=delivery["transport"], agent=story["agent"])
            found += [f"    {line}" for line in filled.splitlines()]
    found.append("")
    text = story["text"]
    found += (
        ["text: cleared by retention"]
        if text is None
        else ["text:", *(f"  | {one_line(line, 400)}" for line in text[:4000].split("\n"))]
    )
    return found
