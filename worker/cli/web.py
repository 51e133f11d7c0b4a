"""Show all agents and what waits for them as a page, live, on this machine's loopback.

It prints a link that can be opened once, within ten minutes: the browser that opens it may look and act for 30 days.
What it does are commands of the command line. A phone sees it through a tunnel: ssh -L 6382:127.0.0.1:6382 HOST.
Needs the extra: pip install 'bus-watch[ui]'.
"""

import argparse
import importlib.util
import json
import sys
from typing import TYPE_CHECKING

from worker.cli import options
from worker.errors import UsageError
from worker.urls import is_loopback

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.web.tokens import Tokens

DEFAULT_PORT = 6382

EXAMPLES = """examples:
  bus-watch web                        serve http://127.0.0.1:6382, and print a link
  bus-watch web --link                 another link to the one that runs, for the phone
  bus-watch web --forget               nobody is let in any more, without a new link
  bus-watch web --reader               a bearer token for programs, which may look and not act
  bus-watch web --allow-host me.ts.net behind a proxy or tunnel of this name
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    options.add_config(parser)
    parser.add_argument("--json", action="store_true", help="say what is printed as JSON")
    parser.add_argument("--host", default="127.0.0.1", help="the loopback address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the port; 0 takes a free one (%(default)s)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name it is called by; may be repeated"
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--link", action="store_true", help="print another one-time link, and serve nothing")
    only.add_argument(
        "--forget", action="store_true", help="take back all links, cookies and tokens, and serve nothing"
    )
    only.add_argument("--reader", action="store_true", help="print a token that only looks, and serve nothing")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, or give access to what serves."""
    settings = options.settings(args)
    if not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))):
        print("bus-watch web: needs the extra: pip install 'bus-watch[ui]'", file=sys.stderr)
        return 69
    if not is_loopback(args.host):
        raise UsageError(
            f"{args.host} may be reached from other machines, and cookies would travel unencrypted. Keep to 127.0.0.1, "
            "and come through a tunnel: ssh -L 6382:127.0.0.1:6382 HOST"
        )
    from worker.web.tokens import Kind, Tokens

    given = Tokens(settings.files_dir / "web")
    if args.reader:
        token = given.new(Kind.READER)
        print(json.dumps({"token": token}) if args.json else token)
        return 0
    if args.forget:
        count = given.forget_all()
        print(json.dumps({"forgotten": count}) if args.json else f"{count} taken back: whoever looks needs a new link")
        return 0
    if args.link:
        _tell(args, f"http://{_bracketed(args.host)}:{args.port}", given.new(Kind.LINK))
        return 0
    return _serve(args, settings, given)


def _serve(args: argparse.Namespace, settings: "Settings", given: "Tokens") -> int:
    import os
    import signal
    import threading

    from worker.serving.server import Server, allow_connections
    from worker.web.app import WebView
    from worker.web.tokens import Kind

    allow_connections()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    view = WebView(
        settings, given, names=frozenset(name.lower() for name in args.allow_host), environment=dict(os.environ)
    )
    try:
        server = Server(view.app, host=args.host, port=args.port, stop=view.stop)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {args.host} port {args.port}: {error}") from None
    view.app.cookie = f"bus_watch_{server.port}"  # cookies know no ports: another of ours on this host has another
    with server:
        _tell(args, server.url, given.new(Kind.LINK))
        stop.wait()
    return 0


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _tell(args: argparse.Namespace, url: str, link: str) -> None:
    whole = f"{url}/in?link={link}"
    if args.json:
        print(json.dumps({"listening": url, "link": whole}), flush=True)
    else:
        print(f"listening on {url}; open this once, within ten minutes:\n{whole}", flush=True)
