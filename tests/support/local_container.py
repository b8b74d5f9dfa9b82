"""The table's models as a FastAPI application behind uvicorn: somebody else's container."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from support.local_cases import DEPLOYMENTS, NEW_SESSION, add_what_both_have, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiosmrt.local import LocalEndpoint

_P = "X-Amzn-SageMaker-"


def application() -> FastAPI:
    """One container per path prefix, as one process."""
    app = FastAPI()

    @app.get("/{path:path}/ping")
    async def ping(path: str) -> Response:
        return Response()

    @app.post("/named/{name}/invocations")
    async def named(name: str) -> Response:
        return PlainTextResponse(name)

    @app.post("/unnoticed/invocations")
    async def unnoticed(request: Request) -> Response:
        return Response(await request.body(), headers={"Content-Type": "text/x-unnoticed"})

    @app.post("/echo/invocations")
    async def echo(request: Request) -> Response:
        text = f"{(await request.body()).decode()} {shown(request.headers)}"
        headers = {"Content-Type": "text/x-echo"}
        if attributes := request.headers.get(_P + "Custom-Attributes"):
            headers[_P + "Custom-Attributes"] = attributes
        return Response(text, headers=headers)

    @app.post("/words/invocations")
    async def words(request: Request) -> Response:
        body = await request.body()

        async def parts() -> AsyncIterator[bytes]:
            for word in body.split():
                yield word
            yield shown(request.headers).encode()

        return StreamingResponse(parts(), media_type="application/octet-stream")

    @app.post("/sessions/invocations")
    async def sessions(request: Request) -> Response:
        session_id = request.headers[_P + "Session-Id"]
        if session_id == "NEW_SESSION":
            return PlainTextResponse(headers={_P + "New-Session-Id": NEW_SESSION})
        if await request.body() == b"close":
            return PlainTextResponse(headers={_P + "Closed-Session-Id": session_id})
        return PlainTextResponse(f"in {session_id}")

    @app.post("/refuses/invocations")
    async def refuses(request: Request) -> Response:
        return PlainTextResponse("I'm a teapot", status_code=418)

    @app.post("/breaks/invocations")
    async def breaks(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"
            raise _BreakError

        return StreamingResponse(parts(), media_type="application/octet-stream")

    return app


class _BreakError(Exception):
    """Breaks off an answer; uvicorn closes the connection."""


@contextmanager
def running() -> Iterator[str]:
    """Runs the application in a thread with an event loop of its own; gives its URL."""
    config = uvicorn.Config(application(), port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    started = threading.Event()
    original = server.startup

    async def startup(sockets: object = None) -> None:
        await original(sockets)
        started.set()

    server.startup = startup
    thread.start()
    try:
        assert started.wait(20)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def add_containers(local: LocalEndpoint, url: str) -> None:
    """Puts the containers behind their endpoints."""
    for name in ("echo", "unnoticed", "words", "sessions", "refuses", "breaks"):
        local.add_container(name, f"{url}/{name}")
    for endpoint_name, deployments in DEPLOYMENTS.items():
        for name, options in deployments.items():
            local.add_container(endpoint_name, f"{url}/named/{name}", **options)
    add_what_both_have(local)
