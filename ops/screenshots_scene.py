"""`ops/screenshots [DIRECTORY]`: the scene, and the pictures of it.

The panes are real ones of a tmux server of its own, with the stand-in UI of the tests; the ledger is filled by the
functions that the worker uses, with times of the last 24 hours.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.fakes.terminals import Terminal, private_terminal
from tests.unit.cli.conftest import try_head
from worker import __version__
from worker.bus.wire import InboxMessage
from worker.configuration import load
from worker.delivery import Ending
from worker.ledger import intake, upkeep
from worker.ledger.port import Tx
from worker.ledger.sqlite import SqliteLedger
from worker.serving.server import Server
from worker.settings import Settings
from worker.transports.locks import hold_lock
from worker.ui.top import Top
from worker.web.app import WebView
from worker.web.tokens import Kind, Tokens

DIRECTORY = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
SIZES = ((80, 24), (160, 50))
VIEWS = {"desktop": (1280, 800), "phone": (390, 844)}
CHOSEN = "api-review"

STANDS = {"api-review": "dialog", "docs-writer": "busy", "hadi-codex": "idle"}
"""The panes, and what they show."""

WAITING = {
    "api-review": (
        "wake",
        Ending("exit", 75, "held back: a dialog is open (Esc to cancel)"),
        [
            "please look at PR 412 before noon",
            "the schema of v2 changed, see docs/wire.md",
            "still waiting for a review",
        ],
        42,
    ),
    "build-bot": (
        "desktop",
        Ending("exit", 1, "the desktop app does not answer on its socket"),
        ["main is red: test_floods failed twice on the runner", "nightly wheel is 40 kB larger than yesterday"],
        3,
    ),
    "docs-writer": (
        "wake",
        Ending("exit", 65, "the text has a NUL in it, which no terminal takes"),
        ["here is the raw trace of the crash"],
        95,
    ),
}
"""What is not done: by which transport, how its first attempt ended, the texts, and how many minutes ago they came."""


def configuration(home: Path, terminal: Terminal) -> Path:
    def transport(name: str) -> dict[str, object]:
        if name not in STANDS:
            return {"name": "desktop", "command": ["/bin/false"], "retry_delay": 600, "retry_max_delay": 600}
        send = shutil.which("send-message", path=str(Path(sys.executable).parent)) or ""
        return {"name": "wake", "command": [send, "--socket-path", terminal.socket, "-t", name, "-m", "{text}"]}

    names = sorted({*STANDS, *WAITING})
    agents = [{"agent": name, "token_env": "NO_TOKEN", "transports": [transport(name)]} for name in names]
    commands = sorted({str(one["transports"][0]["command"][0]) for one in agents})  # type: ignore[index]
    path = home / "bus-watch.json"
    path.write_text(json.dumps({"agents": agents, "state_path": str(home / "state.json"), "allowlist": commands}))
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def scene() -> Iterator[Settings]:
    """The panes, and a ledger whose worker lives as long as this."""
    with private_terminal() as terminal:
        for name, state in STANDS.items():
            terminal.agent(name).tell(state)
        settings = load(configuration(terminal.home, terminal))
        settings.files_dir.mkdir(mode=0o700)
        lock = hold_lock(settings.files_dir / "w.lock")
        database = SqliteLedger(settings.ledger_file)
        database.write(lambda tx: fill(tx, time.time()))
        database.close()
        os.environ["HOME"] = str(terminal.home)  # where the stand-in's profile lies
        try:
            yield settings
        finally:
            os.close(lock)


def fill(tx: Tx, now: float) -> None:
    upkeep.register_worker(
        tx, "w", pid=os.getpid(), boot_id="b", version=__version__, kind="consumer", now=now - 3 * 86400
    )
    rng = random.Random(7)
    for name in sorted({*STANDS, *WAITING}):
        intake.ensure_inbox(tx, name, 0)
        transport = WAITING[name][0] if name in WAITING else "wake"
        for minutes in sorted((rng.triangular(100, 1430, 300) for _ in range(rng.randint(12, 40))), reverse=True):
            deliver(tx, name, transport, "done a while ago", now - 60 * minutes)
    deliver(tx, "hadi-codex", "wake", "the release notes are ready", now - 130)
    for name, (transport, ending, texts, minutes) in WAITING.items():
        for number, text in enumerate(texts):
            take(tx, name, transport, text, now - 60 * minutes + 60 * number)
        lane = lane_of(tx, name, transport)
        try_head(tx, lane, ending, now - 60 * minutes + 5)
    tx.execute("update deliveries set next_at = ? where state = 'retrying'", (now + 75,))
    tx.execute("update inboxes set polled_at = ?", (now + 86400,))  # it goes on being polled while we look
    tx.execute("update workers set swept_at = ?", (now + 86400,))


def take(tx: Tx, name: str, transport: str, text: str, when: float) -> None:
    ms = int(when * 1000)
    stream = f"sos:stream:global:agent:{name}"
    one = InboxMessage(stream, f"{ms}-0", ms, 0, "agent:alice", text, None, None, None)
    intake.take_in(tx, name, [one], lambda _: (None, [transport]), when)


def lane_of(tx: Tx, name: str, transport: str) -> int:
    row = tx.execute("select id from lanes where agent = ? and transport = ?", (name, transport)).fetchone()
    return int(row[0])


def deliver(tx: Tx, name: str, transport: str, text: str, when: float) -> None:
    take(tx, name, transport, text, when)
    try_head(tx, lane_of(tx, name, transport), Ending("exit", 0), when + 1)


# -- pictures ---------------------------------------------------------------------------------------------------------


async def drawn(settings: Settings, size: tuple[int, int]) -> str:
    """What `top` shows in so many columns and lines, as SVG."""
    app = Top(settings)
    async with app.run_test(size=size) as pilot:
        while app._board is None or any(app._live.pane(name).word == "?" for name in STANDS):  # noqa: SLF001 - we wait for what is to be seen
            await pilot.pause(0.1)
        table = app._agents  # noqa: SLF001
        table.move_cursor(row=[str(table.get_row(key)[0]) for key in table.rows].index(CHOSEN))
        while not app._deliveries or app._deliveries[0]["agent"] != CHOSEN:  # noqa: SLF001
            await pilot.pause(0.1)
        await pilot.pause(0.5)
        return app.export_screenshot(title="bus-watch top")


def of_top(browser: Browser, svg: str, path: Path) -> None:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = (round(float(part)) for part in found.groups()) if found else (1200, 800)
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_content(f'<body style="margin: 0">{svg}</body>')
    page.screenshot(path=path)
    page.close()


def of_web(browser: Browser, settings: Settings, directory: Path) -> Iterator[Path]:
    tokens = Tokens(settings.files_dir / "web")
    view = WebView(settings, tokens, names=frozenset(), environment=dict(os.environ))
    with Server(view.app, host="127.0.0.1", port=0, stop=view.stop) as server:
        for name, (width, height) in VIEWS.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if scheme == "dark" else "light",
                    device_scale_factor=2 if name == "phone" else 1,
                )
                page = context.new_page()
                page.goto(f"{server.url}/in?link={tokens.new(Kind.LINK)}")
                page.wait_for_url(f"{server.url}/")
                page.goto(f"{server.url}/#{CHOSEN}")
                page.locator("#deliveries > li", has_text=WAITING[CHOSEN][2][0]).wait_for()
                page.locator(".pane.bad", has_text="dialog").wait_for()
                page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
                yield (path := directory / f"web-{name}-{scheme}.png")
                page.screenshot(path=path)
                context.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="ops/screenshots", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY, help="where to (default: %(default)s)")
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    with scene() as settings:
        tops = {size: asyncio.run(drawn(settings, size)) for size in SIZES}
        with sync_playwright() as playwright:
            sandbox = [] if os.geteuid() else ["--no-sandbox"]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=sandbox)
            for (columns, lines), svg in tops.items():
                of_top(browser, svg, path := directory / f"top-{columns}x{lines}.png")
                print(path)
            for path in of_web(browser, settings, directory):
                print(path)
            browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
