"""The check of `doctor` on alerts: whether each channel has what it needs. Nobody is told anything."""

import importlib.util
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from worker.alert_settings import ChannelSettings, filled_in
from worker.doctor.finding import Finding
from worker.settings import Settings


def check(settings: Settings) -> Iterator[Finding]:
    """Whether people could be told."""
    for channel in settings.alerts.channels:
        wrong = list(_of_channel(channel))
        name = f"alert channel {channel.name}"
        yield from (Finding("FAIL", name, words) for words in wrong)
        if not wrong:
            yield Finding("ok", name, f"{channel.type}; try it with: bus-watch alerts --test {channel.name}")
    if (path := settings.alerts.heartbeat_url_file) is not None:
        yield from (Finding("FAIL", "heartbeat", words) for words in _of_file(path))


def _of_channel(channel: ChannelSettings) -> Iterator[str]:
    for path in (channel.url_file, channel.token_file):
        if path is not None:
            yield from _of_file(path)
    if channel.type == "apprise" and importlib.util.find_spec("apprise") is None:
        yield "apprise is not installed: pip install 'bus-watch[apprise]'"
    if channel.type == "desktop" and sys.platform != "darwin" and shutil.which("notify-send") is None:
        yield "notify-send is not installed: on Debian it is in libnotify-bin"


def _of_file(path: str) -> Iterator[str]:
    if "$CREDENTIALS_DIRECTORY" in path:
        return  # only the service has it
    where = Path(filled_in(path))
    try:
        found = where.stat()
    except OSError as error:
        yield f"{where} cannot be read: {error.strerror}"
        return
    if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
        yield f"others can read {where} (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 {where}"
