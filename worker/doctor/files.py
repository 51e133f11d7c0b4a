"""The checks of `doctor` on files: who else can read a token, or change what is run.

What others could change is refused when it is read (`worker.file_modes`); here it is about groups, too.
"""

import stat
from collections.abc import Iterator

from worker.doctor.finding import Finding
from worker.settings import Settings


def check(settings: Settings) -> Iterator[Finding]:
    """Who else can read a token or change what is run."""
    config = settings.config_path
    mode = stat.S_IMODE(config.stat().st_mode)
    holds_token = any(agent.token is not None for agent in settings.agents)
    if holds_token and mode & 0o077:
        yield Finding("FAIL", "config", f"{config} holds a token and others can read it: chmod 600 {config}")
    elif mode & 0o022:
        yield Finding("FAIL", "config", f"others can change {config}, and so what is run: chmod 600 {config}")
    folder = stat.S_IMODE(config.parent.stat().st_mode)
    if folder & 0o022 and not folder & stat.S_ISVTX:
        yield Finding("FAIL", "config", f"others can replace files in {config.parent}: chmod 700 {config.parent}")
    for agent in settings.agents:
        path = agent.token_source(config).path
        if path is None or agent.token_file is None or "$CREDENTIALS_DIRECTORY" in agent.token_file:
            continue
        try:
            found = path.stat().st_mode
        except OSError:
            continue  # the check of the token says so
        mode = stat.S_IMODE(found)
        if mode & 0o077 and stat.S_ISREG(found):
            text = f"others can read {path} (mode {mode:04o}): chmod 600 {path}"
            yield Finding("FAIL", "token file", text, agent.agent)
