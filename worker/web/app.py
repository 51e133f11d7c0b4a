"""The web view's pages and what they ask for."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from worker import __version__
from worker.errors import BusWatchError
from worker.settings import Settings
from worker.ui import verbs
from worker.view import metrics
from worker.view.live import Live
from worker.web import model, tokens
from worker.web.actions import BadActionError, command_of
from worker.web.guard import Guard
from worker.web.live import Broadcast
from worker.web.tokens import Tokens

_STATIC = Path(__file__).with_name("static")
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/favicon.ico": ("icon.svg", "image/svg+xml"),  # browsers ask for it on the page that lets in
}
AT_ONCE = 2  # commands


class WebView:
    """The application `app`, behind its guard; `stop` ends the streams. Made where the event loop runs, or before."""

    def __init__(
        self, settings: Settings, given: Tokens, *, names: frozenset[str], environment: Mapping[str, str]
    ) -> None:
        """`names`: hosts under which it may be called, beside the loopback's; `environment`: see `Live`."""
        self._live = Live(settings, environment)
        self._broadcast = Broadcast(self._live)
        self._commands = asyncio.Semaphore(AT_ONCE)
        routes = [
            *(Route(path, _file(*file), methods=["GET"]) for path, file in _FILES.items()),
            Route("/session", self._session),
            Route("/events", self._events),
            Route("/agents/{agent}", self._agent),
            Route("/messages/{key:path}", self._message),
            Route("/metrics", self._metrics),
            Route("/do", self._do, methods=["POST"]),
        ]
        self.app = Guard(Starlette(routes=routes, exception_handlers={BusWatchError: _failed}), given, names)

    @property
    def is_read(self) -> bool:
        """Whether the ledger is read now and then, for an open page."""
        return self._broadcast.is_read

    def stop(self) -> None:
        """End what goes on; in the event loop."""
        self._broadcast.stop()

    async def _session(self, request: Request) -> Response:
        session: str = request.state.session
        csrf = tokens.of_forms(session) if session else ""
        return JSONResponse({"csrf": csrf, "version": __version__, "config": str(self._live.settings.config_path)})

    async def _events(self, _request: Request) -> Response:
        return StreamingResponse(self._broadcast.events(), media_type="text/event-stream")

    async def _agent(self, request: Request) -> Response:
        name = request.path_params["agent"]
        return JSONResponse({"deliveries": await asyncio.to_thread(model.waiting, self._live.settings, name)})

    async def _message(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(model.told, self._live.settings, request.path_params["key"]))

    async def _metrics(self, _request: Request) -> Response:
        found = await asyncio.to_thread(metrics.exposition, self._live.settings)
        return Response(found, media_type=metrics.MEDIA_TYPE)

    async def _do(self, request: Request) -> Response:
        try:
            words, text = command_of(json.loads(await request.body()))
        except (ValueError, RecursionError, BadActionError) as error:
            return JSONResponse({"error": "bad_action", "message": str(error)}, 400)
        async with self._commands:
            done = await asyncio.to_thread(verbs.run, self._live.settings.config_path, words, text)
        self._live.expire()
        return JSONResponse(
            {"command": done.command, "status": done.status, "words": str(done), "printed": done.printed}
        )


def _file(name: str, media_type: str) -> Response:
    return Response((_STATIC / name).read_bytes(), media_type=media_type)


def _failed(_request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, BusWatchError) else "internal"
    return PlainTextResponse(f"{error}\n", 404 if code in {"usage", "no_such_message"} else 503)
