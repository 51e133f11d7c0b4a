"""Where a secret comes from, read late and read again when its file changes: a token, or the URL of a ledger."""

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
class SecretSource:
    """A secret: in a file (kept 0600), an environment variable, or, discouraged, the configuration.

    `$CREDENTIALS_DIRECTORY` in a file's path is filled in, so that systemd's LoadCredential works. `whose` and `what`
    are for sentences; its keys are `key`, and that with `_file` and `_env`.
    """

    whose: str
    what: str
    key: str
    file: str | None = None
    variable: str | None = None
    literal: Secret | None = None
    config: Path | None = None
    _cached: Secret | None = field(default=None, repr=False)
    _stamp: tuple[int, int, int] | None = None

    @property
    def path(self) -> Path | None:
        """Its file, or None where it does not come from one."""
        if self.file is None:
            return None
        credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
        return Path(self.file.replace("$CREDENTIALS_DIRECTORY", credentials)).expanduser()

    def read(self) -> Secret:
        """The secret as it is now.

        Raises TokenError, which says where it was looked for.
        """
        if self.literal is not None:
            return self._from_config(self.literal)
        if self.path is not None:
            return self._from_file(self.path)
        if self.variable is not None:
            value = os.environ.get(self.variable, "")
            return self._checked(value, f"the environment variable {shown_name(self.variable, self.key)}")
        raise TokenError(f"{self.whose}: no {self.what}; give one of {self.key}_file, {self.key}_env")

    def _from_config(self, literal: Secret) -> Secret:
        if self.config is not None and self.config.exists() and stat.S_IMODE(self.config.stat().st_mode) & 0o077:
            raise TokenError(
                f"{self.whose}: {self.config} holds a {self.what} and others can read it; "
                f"chmod 600 {self.config}, better: move the {self.what} to a {self.key}_file"
            )
        return self._checked(literal.reveal(), "the configuration")

    def _from_file(self, path: Path) -> Secret:
        try:
            now = path.stat()
            stamp = (now.st_ino, now.st_mtime_ns, now.st_size)
            if self._cached is None or stamp != self._stamp:
                raw = read_plain(path, MAX_TOKEN_BYTES)
                self._cached = self._checked(raw.decode("utf-8-sig", "replace"), str(path))
                self._stamp = stamp
        except OSError as error:
            shown = path if "/" in (self.file or "") else NOT_SHOWN
            raise TokenError(f"{self.whose}: {self.what} file {shown}: {error.strerror}") from None
        return self._cached

    def _checked(self, value: str, where: str) -> Secret:
        return checked(value, where, self.whose, self.what)


class TokenSource(SecretSource):
    """One agent's token."""

    def __init__(
        self,
        agent: str,
        file: str | None = None,
        variable: str | None = None,
        literal: Secret | None = None,
        config: Path | None = None,
    ) -> None:
        super().__init__(f"agent {agent}", "token", "token", file, variable, literal, config)


def shown_name(variable: str, key: str = "token") -> str:
    """The name of a secret's variable as a message may say it: where a token was pasted instead, not even that."""
    usual = re.fullmatch(r"[A-Z]{1,24}(_[A-Z]{1,24}){0,5}", variable)
    return variable if usual or variable in os.environ else f"that {key}_env names ({NOT_SHOWN})"


def is_token(value: str) -> bool:
    """Whether a token can look like this, and a header carry it: visible ASCII characters, one at least."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


def checked(value: str, where: str, whose: str, what: str = "token") -> Secret:
    """The secret in this text; TokenError, which never quotes it, where it can be none."""
    value = value.strip()
    if not value:
        raise TokenError(f"{whose}: {where} holds no {what}")
    if not is_token(value):
        raise TokenError(f"{whose}: {where} holds something that is no {what}: one line of printable characters")
    return Secret(value)
