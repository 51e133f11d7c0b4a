"""The checks of `doctor` on files: who else can read a token, or change what is run.

What others could change is refused when it is read (`worker.file_modes`); here it is about groups, too.
"""

import stat
from collections.abc import Iterator

from worker.credentials import SecretSource
from worker.doctor.finding import Finding
from worker.settings import Settings


def check(settings: Settings) -> Iterator[Finding]:
    """Who else can read a token or change what is run."""
    config = settings.config_path
    mode = stat.S_IMODE(config.stat().st_mode)
    holds_token = settings.ledger_url is not None or any(agent.token is not None for agent in settings.agents)
    if holds_token and mode & 0o077:
        yield Finding("FAIL", "config", f"{config} holds a token and others can read it: chmod 600 {config}")
    elif mode & 0o022:
        yield Finding("FAIL", "config", f"others can change {config}, and so what is run: chmod 600 {config}")
    folder = stat.S_IMODE(config.parent.stat().st_mode)
    if folder & 0o022 and not folder & stat.S_ISVTX:
        yield Finding("FAIL", "config", f"others can replace files in {config.parent}: chmod 700 {config.parent}")
    sources: list[tuple[SecretSource, str | None]] = [
        (agent.token_source(config), agent.agent) for agent in settings.agents
    ]
    if settings.ledger_url_source is not None:
        sources.append((settings.ledger_url_source, None))
    for source, agent in sources:
        path = source.path
        if path is None or source.file is None or "$CREDENTIALS_DIRECTORY" in source.file:
            continue
        try:
            found = path.stat().st_mode
        except OSError:
            continue  # who reads it says so
        mode = stat.S_IMODE(found)
        if mode & 0o077 and stat.S_ISREG(found):
            text = f"others can read {path} (mode {mode:04o}): chmod 600 {path}"
            yield Finding("FAIL", f"{source.what} file", text, agent)
