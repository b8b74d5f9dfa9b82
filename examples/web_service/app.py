"""A chat page whose tokens come from a streaming endpoint, as they are generated.

With a small model on this machine:

    pip install aiosmrt starlette uvicorn
    python examples/web_service/app.py

With an endpoint in AWS that speaks OpenAI's chat format (vLLM, SGLang, LMI, TGI):

    export CHAT_ENDPOINT=my-llm
    uvicorn --app-dir examples/web_service app:app --timeout-graceful-shutdown 3

Without that time limit uvicorn would wait for every open answer before it stops.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from anyio import create_task_group
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

import aiosmrt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from anyio import CancelScope
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

log = logging.getLogger("chat")

PAGE = Path(__file__).with_name("page.html")
LONGEST_CHAT = 65_536  # bytes
LONGEST_ANSWER = 1_024  # tokens: some servers' own default is 30, others' the context's length
MOST_STREAMS = 2_000  # each takes two of the files that `ulimit -n` allows


def create_app(
    endpoint_name: str,
    open_session: Callable[..., AbstractAsyncContextManager[aiosmrt.Session]] = aiosmrt.Session,
) -> Starlette:
    """Makes the service; one session lives as long as it does."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with open_session(max_connections=MOST_STREAMS) as session:
            yield {"session": session, "endpoint_name": endpoint_name}

    return Starlette(
        lifespan=lifespan,
        routes=[Route("/", page), Route("/chat", chat, methods=["POST"])],
    )


async def page(_: Request) -> Response:
    return FileResponse(PAGE)


async def chat(request: Request) -> Response:
    messages = read_messages(await read_body(request))
    return EventStream(answer(request.state.session, request.state.endpoint_name, messages))


async def answer(
    session: aiosmrt.Session, endpoint_name: str, messages: list[dict[str, str]]
) -> AsyncGenerator[str, None]:
    """The server-sent events of an answer: its tokens, then how it ended."""
    body = {"messages": messages, "stream": True, "max_tokens": LONGEST_ANSWER}
    try:
        call = session.invoke_endpoint_with_response_stream(endpoint_name, json=body)
        async with call as stream:
            async for token in stream.iter_tokens():
                if token.text:
                    yield event(token=token.text)
        yield event(end=True)
    except aiosmrt.AiosmrtError as error:
        # The whole story is for the log: it names accounts, log streams and endpoints.
        log.warning("a chat failed: %s", error)
        yield event(
            error=type(error).__name__,
            retryable=isinstance(
                error, aiosmrt.ModelNotReadyException | aiosmrt.ThrottlingException
            ),
            request_id=error.request_id,
        )


def event(**data: Any) -> str:
    return f"data: {json.dumps(data)}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events, for as long as somebody reads them.

    When the browser leaves, the wait for the next event is cancelled at once, which ends
    the generator's ``async with``, the connection to SageMaker and with it the generation.
    Starlette alone does so too, but not on servers that speak ASGI 2.4: there it learns
    of it by the next event, which a model may be long in coming to.
    """

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        # A proxy that collects events before it passes them on would spoil it all.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events = events

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        # Left while an event is being written, the generator would wait for the garbage
        # collector: hence aclosing.
        async with aclosing(self._events), create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_left, receive, tasks.cancel_scope)
            with suppress(OSError):  # nobody is left to be written to
                await self.stream_response(send)
            tasks.cancel_scope.cancel()

    async def _cancel_when_left(self, receive: Receive, scope: CancelScope) -> None:
        await self.listen_for_disconnect(receive)
        scope.cancel()


async def read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_CHAT:
            raise HTTPException(413, "This chat has become too long; begin a new one.")
    return bytes(body)


def read_messages(body: bytes) -> list[dict[str, str]]:
    """The messages of ``{"messages": [{"role", "content"}, ...]}``."""
    try:
        messages = json.loads(body)["messages"]
        return [{"role": str(each["role"]), "content": str(each["content"])} for each in messages]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise HTTPException(400, "This is not a chat.") from None


@asynccontextmanager
async def babble(**options: Any) -> AsyncIterator[aiosmrt.Session]:
    """A session whose endpoint is a model on this machine."""
    from model import BabblingModel

    from aiosmrt.local import LocalEndpoint

    async with LocalEndpoint() as local, local.session(**options) as session:
        local.add_model("chat", BabblingModel().chat)
        yield session


app = create_app(os.environ.get("CHAT_ENDPOINT", "chat"))

if __name__ == "__main__":
    uvicorn.run(create_app("chat", babble), port=8000, timeout_graceful_shutdown=3)
