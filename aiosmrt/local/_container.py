"""A model container behind an endpoint: SageMaker's hosting contract.

GET /ping until it answers 200, then POST /invocations with the request's body and the
headers that the service passes on; the answer's body is read as it comes. Source:
"Custom Inference Code with Hosting Services" of the SageMaker Developer Guide.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from aiosmrt._transport import Transport
from aiosmrt.errors import AiosmrtError, ConnectError, ConnectionLostError, ConnectTimeoutError
from aiosmrt.local._answers import Answer, check_headers
from aiosmrt.local._models import ModelFailure
from aiosmrt.local._multi_model import LoadedModels
from aiosmrt.local._refusals import model_not_ready

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiosmrt._transport import Exchange
    from aiosmrt.local._models import ModelRequest

__all__ = ["Container"]

_log = logging.getLogger("aiosmrt.local")

# The service's own limit of an answer to /ping.
_PING_SECONDS = 2.0
_CONNECT_SECONDS = 2.0
# How much of an error's body is read for its text.
_FAILURE_LENGTH = 65_536
# The server bounds what is under way; this only has to be more.
_MAX_CONNECTIONS = 100_000


class Container:
    """A container at a base URL; a multi-model one loads models when they are called for."""

    def __init__(self, url: str, *, multi_model: bool = False) -> None:
        self._models = LoadedModels(self._converse) if multi_model else None
        self._transport = Transport(url, max_connections=_MAX_CONNECTIONS)
        self._is_ready = False
        self._complaint: str | None = None
        self._ping: asyncio.Task[bool] | None = None

    async def invoke(self, request: ModelRequest) -> Answer:
        """Sends a request to the container.

        Returns:
            The answer, as soon as its head has arrived.

        Raises:
            ModelFailure: The container answered with an error, or broke off.
            Refusal: ModelNotReadyException: it does not answer to /ping.
        """
        if not self._is_ready and not await self._answers_ping():
            raise model_not_ready(request.endpoint_name)
        try:
            path = "/invocations"
            if self._models is not None:
                path = await self._models.path(request.endpoint_name, request.target_model)
            exchange = await self._exchange("POST", path, request.headers, request.body)
        except (ConnectError, ConnectTimeoutError):
            self._is_ready = False
            if self._models is not None:
                self._models.forget()
            raise model_not_ready(request.endpoint_name) from None
        except AiosmrtError as error:
            _log.warning(
                "the container at %s gave no answer: %s", self._transport.host, error.message
            )
            raise _no_answer(request.endpoint_name) from error
        if not 200 <= exchange.status_code < 300:
            if exchange.status_code == 404 and self._models and request.target_model:
                self._models.miss(request.target_model)
            text = await _text(exchange)
            raise ModelFailure(exchange.status_code, text)
        headers = exchange.headers
        answer = Answer(
            body=_Received(exchange),
            content_type=headers.get("Content-Type") or None,
            custom_attributes=headers.get("X-Amzn-SageMaker-Custom-Attributes"),
            new_session_id=headers.get("X-Amzn-SageMaker-New-Session-Id"),
            closed_session_id=headers.get("X-Amzn-SageMaker-Closed-Session-Id"),
        )
        try:
            check_headers(answer)
        except ValueError as error:
            exchange.close()
            raise ModelFailure(500, str(error)) from error
        return answer

    async def aclose(self) -> None:
        """Closes the connections to it."""
        if self._models is not None:
            await self._models.aclose()
        if self._ping is not None:
            self._ping.cancel()
            await asyncio.wait([self._ping])
        await self._transport.aclose()

    async def _answers_ping(self) -> bool:
        # However many calls wait for it, one asks.
        if self._ping is None:
            self._ping = asyncio.create_task(self._ask())
        self._is_ready = await asyncio.shield(self._ping)
        return self._is_ready

    async def _ask(self) -> bool:
        complaint = None
        try:
            exchange = await asyncio.wait_for(
                self._exchange("GET", "/ping", {}, b""), _PING_SECONDS
            )
        except AiosmrtError as error:
            complaint = error.message
        except asyncio.TimeoutError:
            complaint = f"it did not answer GET /ping in {_PING_SECONDS:g} seconds"
        else:
            exchange.close()
            if exchange.status_code != 200:
                complaint = f"it answered GET /ping with {exchange.status_code}"
        finally:
            self._ping = None
        if complaint is not None and complaint != self._complaint:
            # Once, and not with each call that is told to come again.
            _log.warning("the container at %s is not ready: %s", self._transport.host, complaint)
        self._complaint = complaint
        return complaint is None

    async def _converse(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"} if body else {}
        exchange = await self._exchange(method, path, headers, body)
        return exchange.status_code, await _text(exchange)

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Sends a request, and returns when the response's head is there."""
        lines = [f"{method} {self._transport.path_prefix}{path} HTTP/1.1"]
        lines.append(f"Host: {self._transport.host}")
        lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "\r\n"]).encode()
        fresh = False
        while True:
            exchange = await self._transport.acquire(
                deadline=None, connect=_CONNECT_SECONDS, fresh=fresh
            )
            try:
                await exchange.send(head, body, read=None)
            except ConnectionLostError:
                if not exchange.has_crossed:
                    raise
                # It was kept alive, and the container closed it meanwhile.
                fresh = True
            else:
                return exchange


def _no_answer(endpoint_name: str) -> ModelFailure:
    return ModelFailure(
        0,
        f"Amazon SageMaker could not get a response from the {endpoint_name} endpoint. This can "
        "occur when CPU or memory utilization is high.",
    )


async def _text(exchange: Exchange) -> str:
    """What a failing container says: as much of its body as there is."""
    text = bytearray()
    with suppress(AiosmrtError):
        while len(text) < _FAILURE_LENGTH and (data := await exchange.receive(None)):
            text += data
    exchange.close()
    return text.decode(errors="replace")


class _Received:
    """The parts of an answer as they arrive."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._chunks: deque[bytes] = deque()

    def __aiter__(self) -> _Received:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            try:
                self._chunks.extend(await self._exchange.receive_chunks(None))
            except AiosmrtError as error:
                raise ModelFailure(0, error.message) from error
        if not self._chunks:
            self._exchange.release()
            raise StopAsyncIteration
        return self._chunks.popleft()

    async def aclose(self) -> None:
        # A connection in the middle of an answer is of no more use, and its end tells
        # the container that nobody listens; behind the answer's end this does nothing.
        self._exchange.close()
