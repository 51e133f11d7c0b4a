"""All the services that Apprise knows: mail, Slack, Telegram and a hundred more. Needs the extra `apprise`."""

import logging
from collections.abc import Sequence

from worker.alerts.alert import Alert
from worker.alerts.errors import CannotTellError
from worker.secret import Secret


def tell(alert: Alert, urls: Sequence[Secret]) -> None:
    """Tell all of them; CannotTellError where one could not be told: then all are told again."""
    try:
        import apprise  # noqa: PLC0415 - an extra: it may not be there
    except ModuleNotFoundError:
        raise CannotTellError("apprise is not installed; install it with: pip install 'bus-watch[apprise]'") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would print parts of the addresses
    told = apprise.Apprise()
    for number, url in enumerate(urls, start=1):
        if not told.add(url.reveal()):
            raise CannotTellError(f"line {number} of its url_file is no address that Apprise knows")
    kind = apprise.NotifyType.SUCCESS if alert.is_over else apprise.NotifyType.FAILURE
    if not told.notify(title=alert.title, body=alert.body, notify_type=kind, body_format=apprise.NotifyFormat.TEXT):
        raise CannotTellError("Apprise could not deliver it")
