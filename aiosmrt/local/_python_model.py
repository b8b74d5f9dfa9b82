"""A Python function behind an endpoint."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import attrs

from aiosmrt.local._answers import Answer, Parts, check_headers
from aiosmrt.local._models import Handler, ModelFailure, ModelRequest, ModelResponse

__all__ = ["PythonModel"]

_log = logging.getLogger("aiosmrt.local")

# How much of a failing ModelResponse's body is looked at for its text.
_FAILURE_LENGTH = 1_048_576


@attrs.frozen
class PythonModel:
    """Turns what a handler gives or raises into an Answer or a ModelFailure.

    Raises:
        TypeError: The handler is neither a coroutine function nor an async generator
            function, nor an object whose ``__call__`` is one.
    """

    handler: Handler

    def __attrs_post_init__(self) -> None:
        # An object is called by what its class says.
        for function in (
            self.handler,
            inspect.getattr_static(type(self.handler), "__call__", None),
        ):
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                return
        raise TypeError(
            "a model's handler must be a coroutine function (async def) or an async generator "
            f"function, not {self.handler!r}"
        )

    async def invoke(self, request: ModelRequest) -> Answer:
        """Calls the handler; of a stream, waits for the first part.

        So a generator that fails before it has yielded is a ModelError, not a broken
        stream, as with a container that answers 500.

        Raises:
            ModelFailure: The handler raised, or gave what no answer can be made of.
        """
        try:
            returned = self.handler(request)
            value = returned if isinstance(returned, AsyncIterator) else await returned
            response = value if isinstance(value, ModelResponse) else ModelResponse(value)
            check_headers(response)
            body, content_type = await _body(response.body, request.endpoint_name)
        except ModelFailure:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise _failure(request.endpoint_name, error) from error
        answer = Answer(
            body=body,
            content_type=response.content_type or content_type,
            custom_attributes=response.custom_attributes,
            new_session_id=response.new_session_id,
            closed_session_id=response.closed_session_id,
        )
        if 200 <= response.status_code < 300:
            return answer
        text = await answer.read(_FAILURE_LENGTH)
        raise ModelFailure(response.status_code, text.decode(errors="replace"))

    async def aclose(self) -> None:
        """Nothing is held."""


def _failure(endpoint_name: str, error: BaseException) -> ModelFailure:
    if isinstance(error, asyncio.CancelledError):
        # Unless it is the call that is cancelled, it is something that the model awaited: a
        # failure like others, which whoever waits must hear of. Python 3.10 cannot tell.
        task: Any = asyncio.current_task()
        if not hasattr(task, "cancelling") or task.cancelling():
            raise error
    # The traceback is for the model's author, as a container's is in its log stream.
    _log.error("the model of endpoint %s raised", endpoint_name, exc_info=error)
    return ModelFailure(500, f"{type(error).__name__}: {error}")


async def _body(value: object, endpoint_name: str) -> tuple[bytes | Parts, str]:
    """The body of what a handler gave, and the content type it has unless told."""
    if isinstance(value, AsyncIterator):
        parts = _Generated(value, endpoint_name)  # pyright: ignore[reportUnknownArgumentType]
        return parts, await parts.begin()
    if isinstance(value, (dict, list)):
        return json.dumps(value).encode(), "application/json"
    return _part(value)


def _part(value: object) -> tuple[bytes, str]:
    if isinstance(value, str):
        return value.encode(), "text/plain; charset=utf-8"
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)  # pyright: ignore[reportUnknownArgumentType]
        return data, "application/octet-stream"
    raise TypeError(
        "a model answers with bytes, str, dict, list, ModelResponse or an async generator of "
        f"bytes or str, not {type(value).__name__}"
    )


class _Generated:
    """The parts of an async generator, which are waited for from ``begin`` on."""

    def __init__(self, values: AsyncIterator[object], endpoint_name: str) -> None:
        self._values = values
        self._endpoint_name = endpoint_name
        self._first: bytes | None = None

    async def begin(self) -> str:
        """Takes the first part; returns the content type that it speaks for."""
        try:
            self._first, content_type = _part(await anext(self._values))
        except StopAsyncIteration:
            return _part(b"")[1]
        except BaseException:
            await self.aclose()
            raise
        return content_type

    def __aiter__(self) -> _Generated:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            part, self._first = self._first, None
            return part
        try:
            return _part(await anext(self._values))[0]
        except (StopAsyncIteration, ModelFailure):
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise _failure(self._endpoint_name, error) from error

    async def aclose(self) -> None:
        # An iterator that is no generator need have nothing to close.
        close = getattr(self._values, "aclose", None)
        if close is not None:
            await close()
