"""ntfy: a topic to which phones and desktops subscribe (https://docs.ntfy.sh/publish, "Publish as JSON", ntfy 2.11)."""

from worker.alerts import http
from worker.alerts.alert import Alert
from worker.alerts.errors import CannotTellError
from worker.secret import Secret

LONGEST = 3800  # bytes of text; from 4,096 on ntfy makes a file of it
_HIGH, _LOW = 4, 2


def tell(alert: Alert, url: Secret, token: Secret | None) -> None:
    """Publish it. The address is that of the topic: `https://ntfy.sh/TOPIC`."""
    server, _, topic = url.reveal().rstrip("/").rpartition("/")
    if not topic or server.endswith(("/", ":")):
        raise CannotTellError("its url_file names no topic: it should be like https://ntfy.sh/TOPIC")
    message = alert.body.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
    publication = {
        "topic": topic,
        "title": alert.title,
        "message": message,
        "priority": _LOW if alert.is_over else _HIGH,
        "tags": ["white_check_mark" if alert.is_over else "rotating_light"],
    }
    http.post(Secret(server + "/"), token=token, json=publication)
