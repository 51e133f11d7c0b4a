"""A request to somebody who tells people: its address is a secret, and of the answer only the status counts."""

from collections.abc import Mapping

import httpx

from worker.alerts.errors import CannotTellError, NobodyThereError, RefusedError
from worker.bus.reaching import tls
from worker.plain_files import read_plain
from worker.secret import Secret
from worker.urls import is_loopback

TIMEOUT_SECONDS = 10.0
LONGEST_LINE = 16_384
_NEVER = frozenset({400, 413, 422})


def secret_lines(path: str) -> list[Secret]:
    """What a file of secrets holds: each line that is not empty. CannotTellError, which quotes none of it."""
    try:
        raw = read_plain(path, LONGEST_LINE).decode("utf-8-sig", "replace")
    except OSError as error:
        raise CannotTellError(f"{path} cannot be read: {error.strerror}") from None
    lines = [Secret(line.strip()) for line in raw.splitlines() if line.strip()]
    if not lines:
        raise CannotTellError(f"{path} is empty")
    return lines


def address(path: str) -> Secret:
    """The one address in a file. CannotTellError: there is none, or it would show the secret to a network."""
    found = secret_lines(path)[0]
    try:
        url = httpx.URL(found.reveal())
    except httpx.InvalidURL:
        raise CannotTellError(f"{path} holds no address: it should be one line, https://...") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise CannotTellError(f"{path} holds no address: it should be one line, https://...")
    if url.scheme == "http" and not is_loopback(url.host):
        raise CannotTellError(f"{path}: http:// would show the address to the network: use https://")
    return found


def post(
    url: Secret,
    *,
    token: Secret | None = None,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    text: str | None = None,
) -> None:
    """POST JSON, or text.

    Raises:
        NobodyThereError: it did not get there.
        RefusedError: it was refused for good.
        CannotTellError: it was refused for now, or nobody knows what became of it.
    """
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token.reveal()}"
    try:
        with httpx.Client(verify=tls(None), trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.post(url.reveal(), headers=sent, json=json, content=text)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise NobodyThereError("nobody answers at its address; is this machine online?") from None
    except httpx.TimeoutException:
        raise CannotTellError(f"no answer within {TIMEOUT_SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise CannotTellError(f"the request failed: {type(error).__name__}") from None
    if answer.is_success:
        return
    status = answer.status_code
    if answer.is_redirect:
        raise CannotTellError(f"HTTP {status}: it has moved; put the new address into its url_file")
    if status in {401, 403}:
        raise CannotTellError(f"HTTP {status}: the token or the address is refused; see its token_file and url_file")
    raise (RefusedError if status in _NEVER else CannotTellError)(f"HTTP {status}")
