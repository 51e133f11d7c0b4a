"""Tasks as JSON, not pickle: whoever can write the queue must not run code here."""

import json
from datetime import UTC, datetime
from typing import Any

from huey.registry import Message
from huey.serializer import Serializer


class JsonSerializer(Serializer):
    """A task as a JSON list; its arguments are ids. Only what our own tasks use can be stored."""

    def _serialize(self, data: Any) -> bytes:
        if isinstance(data, Message):
            if data.on_complete or data.on_error or data.chord_config:
                raise ValueError("pipelines and chords are not stored in this queue")
            fields = data._asdict()
            # Sentry's integration adds them; a worker without Sentry could not run what one with it has stored.
            fields["kwargs"] = {name: value for name, value in data.kwargs.items() if name != "sentry_headers"}
            fields["eta"] = data.eta and data.eta.replace(tzinfo=UTC).timestamp()
            fields["expires"] = fields["expires_resolved"] = None
            return json.dumps({"task": fields}, separators=(",", ":")).encode()
        return json.dumps({"value": data}, separators=(",", ":"), default=_plain).encode()

    def _deserialize(self, data: bytes) -> Any:
        stored = json.loads(bytes(data))
        if "task" not in stored:
            return stored["value"]
        fields = {name: stored["task"].get(name) for name in Message._fields}
        if fields["eta"] is not None:
            fields["eta"] = datetime.fromtimestamp(fields["eta"], UTC).replace(tzinfo=None)
        return Message(**fields)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
