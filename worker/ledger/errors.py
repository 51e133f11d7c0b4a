"""What can be wrong with the ledger, each with what to do about it."""

import errno
import sqlite3

from worker.errors import BusWatchError


class NoSuchMessageError(BusWatchError):
    """No message, or more than one, has this key."""

    code = "no_such_message"


class LedgerError(BusWatchError):
    """The ledger cannot be used now; whatever was being written was rolled back."""

    code = "ledger"


class LedgerFullError(LedgerError):
    """The disk is full: free some space; work goes on by itself."""

    code = "ledger_full"


class LedgerReadOnlyError(LedgerError):
    """The ledger cannot be written: check its owner, its mode and the mount."""

    code = "ledger_read_only"


class LedgerBusyError(LedgerError):
    """Another process holds the ledger's write lock for very long."""

    code = "ledger_busy"


class LedgerUnreachableError(LedgerBusyError):
    """The ledger's server cannot be reached: work goes on by itself once it can."""

    code = "ledger_unreachable"
    is_said = True  # by the ledger, once for all who meet it


class LedgerCorruptError(LedgerError):
    """The file is damaged or is no ledger: a backup belongs in its place."""

    code = "ledger_corrupt"


class LedgerTooNewError(LedgerError):
    """A newer bus-watch made this ledger: it is refused, untouched."""

    code = "ledger_too_new"


class HostTakenError(LedgerError):
    """Another host of the fleet has this one's name."""

    code = "host_taken"


class LedgerMissingError(LedgerError):
    """There is no ledger yet: nothing has run with this configuration."""

    code = "ledger_missing"


class LedgerMovedError(LedgerError):
    """This ledger has moved to another place: nobody works with it here."""

    code = "ledger_moved"


PUT_A_BACKUP = (
    "stop the worker, move it away with its -wal and -shm, and put a backup in its place (docs/backup-and-restore.md); "
    "without one a new ledger takes the mail of 24 h again"
)

_BY_CODE: dict[int, tuple[type[LedgerError], str]] = {
    sqlite3.SQLITE_FULL: (LedgerFullError, "the disk is full; free some space"),
    sqlite3.SQLITE_READONLY: (LedgerReadOnlyError, "it cannot be written; check owner, mode and mount"),
    sqlite3.SQLITE_CANTOPEN: (LedgerReadOnlyError, "it cannot be opened; check the folder's owner and mode"),
    sqlite3.SQLITE_PERM: (LedgerReadOnlyError, "it cannot be written; check owner, mode and mount"),
    sqlite3.SQLITE_BUSY: (LedgerBusyError, "another process keeps it locked"),
    sqlite3.SQLITE_LOCKED: (LedgerBusyError, "another connection keeps it locked"),
    sqlite3.SQLITE_CORRUPT: (LedgerCorruptError, f"it is damaged: {PUT_A_BACKUP}"),
    sqlite3.SQLITE_NOTADB: (LedgerCorruptError, f"it is no SQLite file, something has overwritten it: {PUT_A_BACKUP}"),
    sqlite3.SQLITE_IOERR: (LedgerError, "the disk reports an error"),
}


def translated(error: sqlite3.Error, path: object) -> LedgerError:
    """Our error for one of SQLite's. Extended result codes carry the primary one in their low byte."""
    primary = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    kind, hint = _BY_CODE.get(primary, (LedgerError, str(error)))
    return kind(f"ledger {path}: {hint}")


def from_os(error: OSError, path: object) -> LedgerError:
    """Our error for a file that could not even be made."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return LedgerFullError(f"ledger {path}: the disk is full; free some space")
    return LedgerReadOnlyError(f"ledger {path}: {error.strerror}; check owner, mode and mount")
