"""Responses as a fault wants them: cut off, dripping, their connection closed behind them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

if TYPE_CHECKING:
    from aiosmrt.local._faults import Fault

__all__ = ["BodyWriter", "send_faulty"]

_DRIPS_A_SECOND = 20


class BodyWriter:
    """Writes a body as a fault bends it: a cut closes the transport."""

    def __init__(
        self, fault: Fault, response: web.StreamResponse, transport: asyncio.Transport | None
    ) -> None:
        self._fault = fault
        self._response = response
        self._transport = transport
        self._left = fault.cut_at

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Writes some of the body.

        Raises:
            ConnectionResetError: It was cut here, or the client has gone.
        """
        is_cut = self._left is not None and len(data) >= self._left
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if self._fault.drip is None:
            await self._response.write(data)
        else:
            await self._drip(data, self._fault.drip)
        if is_cut:
            if self._transport is not None:
                self._transport.close()
            raise ConnectionResetError("cut off by a fault")

    async def _drip(self, data: bytes | bytearray | memoryview, rate: float) -> None:
        step = max(int(rate / _DRIPS_A_SECOND), 1)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            await self._response.write(piece)
            await asyncio.sleep(len(piece) / rate)


async def send_faulty(
    request: web.BaseRequest, response: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    """Sends a response, or ends a stream that has been sent already, as a fault wants it."""
    if isinstance(response, web.Response):
        if fault.bends_the_body and response.body is not None:
            response = await _send_bent(request, response, fault)
        elif fault.stale_close:  # else it is the server that sends it
            with suppress(ConnectionError):
                await response.prepare(request)
                await response.write_eof()
    if fault.stale_close and request.transport is not None:
        request.transport.close()
    return response


async def _send_bent(
    request: web.BaseRequest, whole: web.Response, fault: Fault
) -> web.StreamResponse:
    response = web.StreamResponse(status=whole.status)
    response.headers.update(whole.headers)
    response.content_length = whole.content_length
    with suppress(ConnectionError):  # of a cut, or of a client that has gone
        await response.prepare(request)
        writer = BodyWriter(fault, response, request.transport)
        if isinstance(whole.body, (bytes, bytearray)):
            await writer.write(whole.body)
        elif whole.body is not None:
            await whole.body.write(cast("Any", writer))  # it calls nothing but write
        await response.write_eof()
    return response
