"""Hands a model's answer on as it comes: LLM_ENDPOINT=my-llm python examples/aiohttp_service.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiohttp import web

import aiosmrt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SESSION = web.AppKey("session", aiosmrt.Session)
ENDPOINT = os.environ.get("LLM_ENDPOINT", "llm")


async def session(app: web.Application) -> AsyncIterator[None]:
    async with aiosmrt.Session(max_connections=2_000) as app[SESSION]:
        yield


async def answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    call = request.app[SESSION].invoke_endpoint_with_response_stream(
        ENDPOINT, await request.read(), content_type=request.content_type
    )
    async with call as stream:  # left at once when the client leaves: see handler_cancellation
        response.headers["Content-Type"] = stream.content_type or "application/octet-stream"
        await response.prepare(request)
        async for chunk in stream.iter_bytes():
            await response.write(chunk)
    return response


app = web.Application()
app.cleanup_ctx.append(session)
app.router.add_post("/", answer)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=8000, handler_cancellation=True)
