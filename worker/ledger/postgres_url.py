"""The URL of a ledger in PostgreSQL: what libpq makes of it, and what of it may be shown.

It holds a password, so it is treated as a token is: it crosses no network in the clear.
"""

import os
from pathlib import Path
from urllib.parse import quote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from worker.errors import ConfigError
from worker.secret import Secret
from worker.urls import is_loopback

_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
_OURS = {"connect_timeout": "5", "application_name": "bus-watch"}


def parameters(url: Secret) -> dict[str, str]:
    """What to connect with. Without a word of the URL about it the server must prove who it is, unless it is here.

    ConfigError, which quotes neither the URL nor its password.
    """
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(url.reveal()).items()}
    except ProgrammingError:  # its words quote the URL
        raise ConfigError("ledger_url: it cannot be read: write postgresql://USER@HOST:PORT/DATABASE") from None
    if password := given.get("password"):
        Secret(password)  # from now on redaction knows it, as it is and as the URL has it
        Secret(quote(password, safe=""))
    if not _stays_here(given):
        mode = given.setdefault("sslmode", "verify-full")
        if mode not in _ENCRYPTED:
            raise ConfigError(
                f"ledger_url: the password would travel in the clear to {_where(given)}: leave out sslmode={mode}"
            )
        if mode == "verify-full" and not _has_authorities(given):
            given["sslrootcert"] = "system"
    return _OURS | given


def shown(given: dict[str, str]) -> str:
    """The ledger's name for people: no user, no password."""
    return f"postgresql://{_where(given)}/{given.get('dbname', '')}"


def _where(given: dict[str, str]) -> str:
    host, port = given.get("host") or given.get("hostaddr", ""), given.get("port", "")
    return f"{host}:{port}" if host and port else host


def _stays_here(given: dict[str, str]) -> bool:
    """Whether it is reached by a socket, or over loopback: nobody else hears it. What libpq would add is looked at."""
    if "service" in given or os.environ.get("PGSERVICE"):
        return False
    hosts = given.get("hostaddr") or os.environ.get("PGHOSTADDR") or given.get("host") or os.environ.get("PGHOST") or ""
    return all(not host or host[0] in "/@" or is_loopback(host) for host in hosts.split(","))


def _has_authorities(given: dict[str, str]) -> bool:
    """Whether somebody has said by which authorities the server is known."""
    return bool(
        given.get("sslrootcert")
        or os.environ.get("PGSSLROOTCERT")
        or Path("~/.postgresql/root.crt").expanduser().exists()
    )
