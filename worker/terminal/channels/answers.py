"""What comes from an agent's socket or file, read as JSON, whatever it is."""

import json
from typing import Any


def parsed(data: bytes | str) -> dict[str, Any]:
    """A JSON object; empty if it is something else, or nested without end."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
