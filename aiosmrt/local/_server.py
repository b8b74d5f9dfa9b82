"""The HTTP server: reads a request, checks its signature, hands it to the service or to S3."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from email.utils import format_datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import attrs
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from aiosmrt.errors import ConfigurationError
from aiosmrt.local._faulty_responses import send_faulty
from aiosmrt.local._idleness import ConnectionWatch
from aiosmrt.local._models import ReceivedRequest
from aiosmrt.local._parameters import read_call, route
from aiosmrt.local._refusals import (
    Refusal,
    internal_failure,
    invalid_request,
    ordered,
    request_idle,
    too_long,
    too_many_requests,
)
from aiosmrt.local._request_bodies import RequestBodies
from aiosmrt.local._s3.documents import S3Refusal, error_document, slow_down
from aiosmrt.local._s3.requests import ObjectStoreApi, S3Request
from aiosmrt.local._signature_refusals import SignatureRefused
from aiosmrt.local._sites import SiteCheck, SiteRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aiosmrt._protocol.operations import Operation
    from aiosmrt.local._fault_orders import Faults
    from aiosmrt.local._invocations import Invocations
    from aiosmrt.local._signatures import SignatureCheck

__all__ = ["Limits", "LocalServer"]

_log = logging.getLogger("aiosmrt.local")
_http_log = logging.getLogger("aiosmrt.local.http")

_CREDENTIAL_HEADERS = ("Authorization", "X-Amz-Security-Token")
# A thousand clients may come at once.
_BACKLOG = 1024
# How long a model that does not heed its cancellation is waited for.
_CANCEL_SECONDS = 5.0
# How long connections whose last request is answered have to end by themselves.
_LINGER_SECONDS = 0.1
_S3_INTERNAL = "We encountered an internal error. Please try again."


def _without_its_bytes(record: logging.LogRecord) -> bool:
    """Cuts what aiohttp says of a request that is no HTTP down to that: it quotes headers."""
    kind = record.exc_info[0] if record.exc_info else None
    if kind is not None and kind.__module__ == "aiohttp.http_exceptions":
        record.msg, record.exc_info = f"{record.msg}: {kind.__name__}", None
    return True


_http_log.addFilter(_without_its_bytes)


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds of what is read.

    Attributes:
        body_length: Bytes of an invocation's body.
        bodies_length: Bytes of the bodies of all invocations that are being answered.
        object_length: Bytes of an object's body, and of all that are being put.
        idle_seconds: How long a client may send nothing of a request that is not whole, and
            how long a connection may be without one.
        received: How many requests are remembered.
    """

    body_length: int
    bodies_length: int
    object_length: int
    idle_seconds: float
    received: int


class LocalServer:
    """Listens on one port, and answers until it is closed.

    Without a signature check it takes every request.

    Attributes:
        received: The last requests that arrived, the newest last.
    """

    def __init__(
        self,
        invocations: Invocations,
        objects: ObjectStoreApi,
        *,
        signatures: SignatureCheck | None,
        sites: SiteCheck,
        faults: Faults,
        clock: Callable[[], datetime],
        limits: Limits,
    ) -> None:
        self._invocations = invocations
        self._objects = objects
        self._signatures = signatures
        self._sites = sites
        self._faults = faults
        self._clock = clock
        self._bodies = RequestBodies(
            each=limits.body_length,
            together=limits.bodies_length,
            too_long=lambda: too_long(limits.body_length),
            idle_seconds=limits.idle_seconds,
            too_many=too_many_requests,
            idle=request_idle,
        )
        self._object_bodies = RequestBodies(
            each=limits.object_length,
            together=limits.object_length,
            too_long=_entity_too_large,
            idle_seconds=limits.idle_seconds,
            too_many=slow_down,
            idle=_stopped,
        )
        self._idle_seconds = limits.idle_seconds
        self._connections: ConnectionWatch | None = None
        self._answering: dict[asyncio.Task[None], web.BaseRequest] = {}
        self._runner: web.ServerRunner | None = None
        self.received: deque[ReceivedRequest] = deque(maxlen=limits.received)

    async def start(self, host: str, port: int) -> int:
        """Begins to listen, and returns the port; port 0 takes a free one.

        Raises:
            OSError: The address cannot be listened on.
        """
        server = web.Server(
            self._handle,
            # So that a model stops as soon as nobody waits for its answer.
            handler_cancellation=True,
            # The signature covers the body as it is on the wire.
            auto_decompress=False,
            access_log=None,
            logger=_http_log,
        )
        # By then nothing is being answered: see aclose.
        self._runner = web.ServerRunner(server, shutdown_timeout=_LINGER_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=_BACKLOG).start()
        self._connections = ConnectionWatch(
            lambda: server.connections, self._answering.values, self._idle_seconds
        )
        return int(self._runner.addresses[0][1])

    async def aclose(self) -> None:
        """Stops listening, and breaks off what is being answered."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        if self._connections is not None:
            self._connections.stop()
        for site in list(runner.sites):
            await site.stop()
        assert runner.server is not None  # noqa: S101 - for the type checker: it was set up
        transports = [connection.transport for connection in runner.server.connections]
        for task, request in self._answering.items():
            _abort_unread(request.transport)
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering, timeout=_CANCEL_SECONDS)
        await runner.cleanup()
        for transport in transports:
            _abort_unread(transport)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: this is a coroutine
        self._answering[task] = request
        if self._connections is not None:
            self._connections.moved(request.protocol)
        try:
            routed = route(request.method, request.raw_path.partition("?")[0])
            if routed is not None:
                response = await self._serve(request, *routed)
            else:
                response = await self._serve_object(request)
            if not request.content.is_eof():
                # Refused unread: what follows on this connection is not a request.
                response.force_close()
            return response
        finally:
            del self._answering[task]

    async def _serve(
        self, request: web.BaseRequest, operation: Operation | None, endpoint_name: str
    ) -> web.StreamResponse:
        request_id = str(uuid4())
        headers = {"x-amzn-RequestId": request_id, "Date": self._date()}
        name = operation.name if operation else request.method
        self._remember(request, name, endpoint_name)
        fault = None
        try:
            self._sites.check(request.headers)
            async with self._bodies.read(request) as body:
                await self._check_signature("sagemaker", request, body)
                call = read_call(operation, endpoint_name, request.headers, body)
                fault = self._faults.strike(name, endpoint_name, request.headers)
                if fault is not None:
                    await asyncio.sleep(fault.latency)
                    if fault.error_status is not None:
                        raise ordered(fault.error, fault.error_status)
                # What an async inference writes is dated by it: nothing older is its result.
                headers["Date"] = self._date()
                response = await self._invocations.answer(request, call, headers, fault)
        except Refusal as error:
            response = _refusal(error, headers)
        except (SignatureRefused, SiteRefused) as error:
            refusal = Refusal(error.code, error.status_code, {"message": error.message})
            response = _refusal(refusal, headers)
        except ConfigurationError as error:
            response = _refusal(invalid_request(error.message), headers)
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets the service's form
            _log.exception("request %s was not answered", request_id)
            response = _refusal(internal_failure(), headers)
        return response if fault is None else await send_faulty(request, response, fault)

    async def _serve_object(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = uuid4().hex[:16].upper()
        raw_path, _, raw_query = request.raw_path.partition("?")
        asked = S3Request.of(request.method, raw_path, raw_query, request.headers)
        self._remember(request, asked.operation, None)
        fault = None
        try:
            self._sites.check(request.headers)
            async with self._object_bodies.read(request) as body:
                await self._check_signature("s3", request, body)
                fault = self._faults.strike(asked.operation, None, request.headers)
                if fault is not None:
                    await asyncio.sleep(fault.latency)
                    if fault.error_status is not None:
                        said = "A fault was ordered."
                        raise S3Refusal(fault.error or "", said, fault.error_status)
                response = await self._objects.answer(asked, body)
        except (S3Refusal, SignatureRefused, SiteRefused) as error:
            response = _s3_refusal(error.code, error.message, error.status_code, request_id)
        except ConfigurationError as error:
            response = _s3_refusal("InvalidArgument", error.message, 400, request_id)
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets S3's form
            _log.exception("request %s was not answered", request_id)
            response = _s3_refusal("InternalError", _S3_INTERNAL, 500, request_id)
        response.headers["x-amz-request-id"] = request_id
        response.headers["Date"] = self._date()
        return response if fault is None else await send_faulty(request, response, fault)

    async def _check_signature(self, service: str, request: web.BaseRequest, body: bytes) -> None:
        if self._signatures is not None:
            headers = tuple(request.headers.items())
            await self._signatures.check(service, request.method, request.raw_path, headers, body)

    def _date(self) -> str:
        return format_datetime(self._clock(), usegmt=True)

    def _remember(
        self, request: web.BaseRequest, operation: str, endpoint_name: str | None
    ) -> None:
        if not self.received.maxlen:
            return
        headers = CIMultiDict(request.headers)
        for name in _CREDENTIAL_HEADERS:
            headers.popall(name, None)
        self.received.append(
            ReceivedRequest(
                operation=operation,
                endpoint_name=endpoint_name,
                inference_id=headers.get("X-Amzn-SageMaker-Inference-Id"),
                raw_path=request.raw_path,
                headers=CIMultiDictProxy(headers),
                body_length=request.content_length,
                at=self._clock(),
            )
        )


def _abort_unread(transport: asyncio.Transport | None) -> None:
    """Ends a connection that could not be closed: its client does not read what was written."""
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


def _refusal(refusal: Refusal, headers: dict[str, str]) -> web.Response:
    if not refusal.code:
        return web.Response(status=refusal.status_code, headers=headers)
    headers["x-amzn-errortype"] = refusal.code
    return web.Response(
        status=refusal.status_code,
        headers=headers,
        body=refusal.to_json(),
        content_type="application/json",
    )


def _s3_refusal(code: str, message: str, status_code: int, request_id: str) -> web.Response:
    return web.Response(
        status=status_code,
        body=error_document(code, message, request_id) if code else None,
        content_type="application/xml",
    )


def _stopped() -> S3Refusal:
    message = (
        "Your socket connection to the server was not read from or written to within the timeout "
        "period. Idle connections will be closed."
    )
    return S3Refusal("RequestTimeout", message, 400)


def _entity_too_large() -> S3Refusal:
    message = "Your proposed upload exceeds the maximum allowed object size."
    return S3Refusal("EntityTooLarge", message, 400)
