"""A webhook: a POST of JSON, with the headers of Standard Webhooks (https://www.standardwebhooks.com, 1.0.0)."""

import time

from worker.alerts import http
from worker.alerts.alert import Alert
from worker.secret import Secret


def tell(alert: Alert, url: Secret, token: Secret | None) -> None:
    """Post it. `webhook-id` is the same when it has to be sent again: a receiver that knows it takes it once."""
    document = alert.facts | {"title": alert.title} | ({"detail": alert.detail} if alert.detail else {})
    headers = {"webhook-id": alert.key, "webhook-timestamp": str(int(time.time()))}
    http.post(url, token=token, json=document, headers=headers)
