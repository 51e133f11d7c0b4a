"""Profile files that were written for 1.0.0.dev0, in today's words. Pure.

Then a box was looked for from the screen's lower end, by patterns for the rows around it. Promises: `modern` changes
nothing in a file that has none of the old keys, and never fails, whatever a file holds.
"""

from typing import Any


def modern(data: dict[str, Any]) -> dict[str, Any]:
    """The file's tables, with `ruled` and `rule` instead of `above` and `end`; what was required of them is gone."""
    composer = data.get("composer")
    if not isinstance(composer, dict):
        return data
    new = dict(composer)
    above, end = new.pop("above", None), new.pop("end", None)
    for key in ("end_required", "line_required"):
        new.pop(key, None)
    rules = [one for one in (above, end) if isinstance(one, str)]
    if rules and (above is not None or "start" not in new):
        new = {"ruled": True, "rule": "|".join(f"(?:{one})" for one in rules), **new}
    return {**data, "composer": new}
