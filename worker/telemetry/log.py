"""Logging: one record a line, written at once, for people, for journald or for machines; every line redacted.

Ids travel in `extra=` under the names in `IDS`; nothing else of a record's extras is ever written, so that no text of
a message can come into the log that way.
"""

import json
import logging
import logging.handlers
import os
import sys
import threading
import time
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import TextIO

from worker.errors import ConfigError
from worker.settings import Settings
from worker.telemetry.redact import redact

IDS = ("agent", "stream", "message_id", "transport", "delivery", "attempt", "state")

FILE_BYTES = 10 * 1024 * 1024
FILES_KEPT = 5

# sd-daemon(3): a line that begins with <N> has that priority in the journal.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
# Libraries that tell what nobody who watches deliveries wants to read, or more than they should.
_QUIET = ("httpx", "httpcore", "urllib3", "sentry_sdk", "asyncio")

logger = logging.getLogger("bus_watch.log")


def configure(settings: Settings, *, verbose: bool = False, log_format: str | None = None) -> None:
    """Send the log where the settings say: to `log_file`, which rotates, else to standard error.

    `verbose`: DEBUG, huey's own words included. `log_format`: that of the command line, before that of the settings.
    Raises ConfigError where the log file cannot be written.
    """
    chosen = log_format or settings.log_format
    if settings.log_file is not None:
        handler: logging.Handler = _file_handler(settings.log_file)
        handler.setFormatter(JsonFormatter() if chosen == "json" else TextFormatter())
    else:
        handler = _StreamHandler(sys.stderr)
        handler.setFormatter(_formatter(chosen, sys.stderr))
    _install(handler)
    _set_level(logging.DEBUG if verbose else logging.getLevelName(settings.log_level))
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def adopt_consumer_flags() -> None:
    """Under `huey_consumer`: give its -v, -q and -l their meaning in our log, and take its second handler away.

    huey (3.5.4) adds a handler and a level to the logger `huey` after it has imported the application, before it asks
    for the consumer: -v is DEBUG, -q is WARNING, -l FILE a FileHandler. Without -v and -q our settings decide.
    """
    huey = logging.getLogger("huey")
    if not huey.handlers:
        return  # not under huey_consumer
    for handler in huey.handlers[:]:
        huey.removeHandler(handler)
        handler.close()
        if isinstance(handler, logging.FileHandler):
            ours = _file_handler(handler.baseFilename)
            ours.setFormatter(TextFormatter())
            _install(ours)
    if huey.level in {logging.DEBUG, logging.WARNING}:
        _set_level(huey.level)
    else:
        _set_level(logging.getLogger().level)


def _install(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)


def _set_level(level: int) -> None:
    logging.getLogger().setLevel(level)
    # huey tells of each task that starts and ends: for people who look for a fault in the queue.
    logging.getLogger("huey").setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _formatter(chosen: str, stream: TextIO) -> logging.Formatter:
    if chosen == "json":
        return JsonFormatter()
    return TextFormatter(journal=chosen == "auto" and goes_to_journal(stream))


def goes_to_journal(stream: TextIO) -> bool:
    """Whether what is written there goes to journald, by `JOURNAL_STREAM`, its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _ids(record: logging.LogRecord) -> dict[str, object]:
    found = {name: getattr(record, name, None) for name in IDS}
    return {name: value for name, value in found.items() if value is not None}


class _Formatter(logging.Formatter):
    def exception(self, record: logging.LogRecord) -> str:
        """The traceback of the record, or nothing; redacted."""
        parts = []
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return redact("\n".join(parts))


class JsonFormatter(_Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, the ids; exception, if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        line |= {name: redact(value) if isinstance(value, str) else value for name, value in _ids(record).items()}
        if exception := self.exception(record):
            line["exception"] = exception
        return json.dumps(line, default=str)


class TextFormatter(_Formatter):
    """`2026-11-22T10:00:00.123+0100 INFO poll: words agent=hadi`; for journald, with a priority instead of the time."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback follows it, indented."""
        name = record.name.removeprefix("bus_watch.")
        ids = "".join(f" {name}={value}" for name, value in _ids(record).items())
        text = _plain(redact(f"{record.levelname} {name}: {record.getMessage()}{ids}"))
        lines = [text, *(f"    {_plain(line)}" for line in self.exception(record).splitlines())]
        if self._journal:
            priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
            return "\n".join(f"<{priority}>{line}" for line in lines)
        now = time.localtime(record.created)
        lines[0] = f"{time.strftime('%Y-%m-%dT%H:%M:%S', now)}.{int(record.msecs):03d}{time.strftime('%z', now)} {text}"
        return "\n".join(lines)


def _plain(text: str) -> str:
    """No record can begin a line of its own, or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def _say_lost(record: logging.LogRecord, error: BaseException | None) -> None:
    """Logging's own complaint prints the record's arguments as they are; this one says only that a line is lost."""
    try:
        sys.stderr.write(
            f"bus-watch: a {record.levelname} line of {record.name} could not be logged: {type(error).__name__}\n"
        )
    except (OSError, ValueError, AttributeError):
        return  # nobody is left to tell


class _StreamHandler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        _say_lost(record, sys.exc_info()[1])


class _PrivateFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner can read; another worker may rotate it too."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - the handler closes it

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, into the file that has the name now."""
        try:
            if not self._has_its_name():
                if self.stream is not None:
                    self.stream.close()
                self.stream = self._open()
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _has_its_name(self) -> bool:
        if self.stream is None:
            return False
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(self.stream.fileno()))
        except (OSError, ValueError):
            return False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        _say_lost(record, sys.exc_info()[1])


def _file_handler(path: str) -> logging.Handler:
    where = Path(path).expanduser()
    try:
        where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _PrivateFileHandler(where, maxBytes=FILE_BYTES, backupCount=FILES_KEPT)
    except OSError as error:
        raise ConfigError(f"log_file {where}: {error.strerror}") from None


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("this program has a fault, and ends", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread else "?"
        logger.critical(
            "the thread %s has a fault, and ends", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )
