"""Where a token comes from, read late and read again when its file changes."""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import TokenError
from worker.plain_files import read_plain
from worker.secret import Secret

MAX_TOKEN_BYTES = 16_384
NOT_SHOWN = "not shown, in case it is the token itself"


@dataclass(slots=True)
class TokenSource:
    """One agent's token: in a file (kept 0600), an environment variable, or, discouraged, the configuration.

    `$CREDENTIALS_DIRECTORY` in a file's path is filled in, so that systemd's LoadCredential works.
    """

    agent: str
    file: str | None = None
    variable: str | None = None
    literal: Secret | None = None
    config: Path | None = None
    _cached: Secret | None = field(default=None, repr=False)
    _stamp: tuple[int, int, int] | None = None

    @property
    def path(self) -> Path | None:
        """The token file, or None where the token does not come from one."""
        if self.file is None:
            return None
        credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
        return Path(self.file.replace("$CREDENTIALS_DIRECTORY", credentials)).expanduser()

    def read(self) -> Secret:
        """The token as it is now.

        Raises TokenError, which says where it was looked for.
        """
        if self.literal is not None:
            return self._from_config(self.literal)
        if self.path is not None:
            return self._from_file(self.path)
        if self.variable is not None:
            value = os.environ.get(self.variable, "")
            return checked(value, f"the environment variable {shown_name(self.variable)}", self.agent)
        raise TokenError(f"agent {self.agent}: no token; give one of token_file, token_env")

    def _from_config(self, literal: Secret) -> Secret:
        if self.config is not None and self.config.exists() and stat.S_IMODE(self.config.stat().st_mode) & 0o077:
            raise TokenError(
                f"agent {self.agent}: {self.config} holds a token and others can read it; "
                f"chmod 600 {self.config}, better: move the token to a token_file"
            )
        return checked(literal.reveal(), "the configuration", self.agent)

    def _from_file(self, path: Path) -> Secret:
        try:
            now = path.stat()
            stamp = (now.st_ino, now.st_mtime_ns, now.st_size)
            if self._cached is None or stamp != self._stamp:
                raw = read_plain(path, MAX_TOKEN_BYTES)
                self._cached = checked(raw.decode("utf-8-sig", "replace"), str(path), self.agent)
                self._stamp = stamp
        except OSError as error:
            shown = path if "/" in (self.file or "") else NOT_SHOWN
            raise TokenError(f"agent {self.agent}: token file {shown}: {error.strerror}") from None
        return self._cached


def shown_name(variable: str) -> str:
    """The name of a token's variable as a message may say it: where a token was pasted instead, not even that."""
    usual = re.fullmatch(r"[A-Z]{1,24}(_[A-Z]{1,24}){0,5}", variable)
    return variable if usual or variable in os.environ else f"that token_env names ({NOT_SHOWN})"


def is_token(value: str) -> bool:
    """Whether a token can look like this, and a header carry it: visible ASCII characters, one at least."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


def checked(value: str, where: str, agent: str) -> Secret:
    """The token in this text; TokenError, which never quotes it, where it can be none."""
    value = value.strip()
    if not value:
        raise TokenError(f"agent {agent}: {where} holds no token")
    if not is_token(value):
        raise TokenError(f"agent {agent}: {where} holds something that is no token: one line of printable characters")
    return Secret(value)
