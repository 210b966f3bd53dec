"""The browser page: a game against a model, beside the board that it believes in.

    GET  /             the page; nothing on it comes from elsewhere
    POST /api/about    {}: what the model is
    POST /api/look     {"moves": ["e2e4", ...], "from": 0, "to": 2}: positions after 0 and 1 of the moves
    POST /api/erase    {"moves": [...], "square": "e4"}: what it thinks of with that piece gone from the board inside it
    POST /api/reply    {"moves": [...], "temperature": 0}: the model's move
    POST /api/read     {"moves": [...], "text": "Nf3"} or {"pgn": "1. e4 ..."}: what was typed or pasted, as moves

The server keeps no games: a page sends its moves each time (``mind``), so any number of pages may be open. The model
answers one request at a time.

It listens on this machine alone unless told otherwise, and answers only who calls it by its name: a page of another
site, and a name of another site that leads here, are refused by their Origin and Host.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from rich.console import Console
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chesslm.errors import InputError
from chesslm.play.mind import Asked, Mind

BODY = 64 * 1024
"""Bytes of a request at most."""
STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def serve(
    model: str | None, host: str = "127.0.0.1", port: int = 8000, notation: str | None = None, device: str = "auto"
) -> None:
    """Serve the page until it is stopped.

    Args:
        model: folder or hub id; None is the released model.
        host: address to listen at; one that others reach is named by them, as is this machine.
        port: 0 takes a free one.
        notation: how the model writes moves, if it does not say.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: no such model, no such address, or a port that is taken.
    """
    with _bound(host, port) as listening:
        port = listening.getsockname()[1]
        with Console(stderr=True).status("Loading the model"):
            from chesslm.inside import edits, probe
            from chesslm.model import load_model
            from chesslm.play.player import ModelPlayer

            loaded = load_model(model, notation, device, precision="fp32")
            folder = Path(loaded.path)
            mind = Mind(loaded, ModelPlayer(loaded), probe.load(folder), edits.load(folder))
        # From now on a browser is let in, and waits for as long as the server takes to start.
        try:
            listening.listen(1024)
        except OSError as error:  # who was started at the same time was quicker
            raise _refused(host, port, error) from error
        shown = f"[{host}]" if ":" in host else host
        print(f"{loaded.name} plays at http://{shown}:{port}/ until Ctrl-C", flush=True)
        app = make_app(mind, names_of(host, port))
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, limit_concurrency=1000)
        uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket of that address, which nobody else has."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        raise _refused(host, port, error) from error
    return bound


def _refused(host: str, port: int, error: OSError | UnicodeError) -> InputError:
    why = error.strerror if isinstance(error, OSError) else "no name that a host can have"
    return InputError(f"{host}:{port}: {why}; choose another --host or --port")


def names_of(host: str, port: int) -> frozenset[str]:
    """What this server may be called, with its port; of an address that others reach, any of this machine's.

    In small letters and without the port of HTTP, as browsers say it.
    """
    names = {host, "localhost", "127.0.0.1", "::1"}
    try:
        outside = not ipaddress.ip_address(host).is_loopback
    except ValueError:
        outside = host != "localhost"
    if outside:
        names |= {socket.gethostname(), *(info[4][0] for info in _addresses())}
    bare = {f"[{name}]" if ":" in str(name) else str(name).lower() for name in names}
    return frozenset({f"{name}:{port}" for name in bare} | (bare if port == 80 else set()))


def _addresses() -> list[Any]:
    try:
        return socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return []


def make_app(mind: Mind, hosts: Collection[str]) -> Starlette:
    """The application.

    Args:
        mind: what answers.
        hosts: names with ports by which it may be called.
    """
    lock = asyncio.Lock()

    def answer(act: Callable[[Asked], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                asked = await request.json()
                if not isinstance(asked, dict):
                    raise InputError("a request is a JSON object")
                async with lock:
                    return JSONResponse(await asyncio.to_thread(act, asked))
            except InputError as error:
                # Half of a surrogate pair, which JSON can bring in, cannot go out again.
                return JSONResponse({"error": str(error).encode(errors="backslashreplace").decode()}, 400)
            except (ValueError, RecursionError):
                return JSONResponse({"error": "a request is a JSON object"}, 400)

        return respond

    async def page(_: Request) -> Response:
        return Response((STATIC / "index.html").read_text(encoding="utf-8"), media_type="text/html")

    acts = (mind.about, mind.look, mind.erase, mind.reply, mind.read)
    routes = [Route(f"/api/{act.__name__}", answer(act), methods=["POST"]) for act in acts]
    return Starlette(
        routes=[Route("/", page), *routes, Mount("/static", StaticFiles(directory=STATIC))],
        middleware=[Middleware(Guard, hosts=hosts)],
    )


class Guard:
    """Turns away who must not be answered, before anything is read of what is asked.

    Args:
        app: what is guarded.
        hosts: names with ports by which it may be called.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["method"], headers)
        if scope["method"] == "POST" and not refusal:
            if (body := await _body(receive)) is None:
                refusal = (413, f"a request has {BODY // 1024} KB at most")
            else:
                receive = _once(body, receive)
        answer = JSONResponse({"error": refusal[1]}, refusal[0]) if refusal else self._app
        await answer(scope, receive, _with_headers(send))

    def _refusal(self, method: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Why a request is not answered, by its headers."""
        origin = headers.get("origin")
        if headers.get("host") not in self._hosts:
            return 421, "this server is not called so"
        if origin is not None and origin.partition("://")[2] not in self._hosts:
            return 403, "pages of other sites are not answered"
        if method == "POST" and headers.get("content-type", "").partition(";")[0] != "application/json":
            return 415, "a request is JSON"
        return None


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too long, of which no more is read."""
    parts, size = list[bytes](), 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > BODY:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    """What gives the body that was read already, and then whatever comes."""
    given: Message = {"type": "http.request", "body": body, "more_body": False}
    waiting = [given]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", []),
                (b"content-security-policy", POLICY.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
                (b"cache-control", b"no-store"),
            ]
        await send(message)

    return wrapped
