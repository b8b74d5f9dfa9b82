"""Calling a model in bounded time, its failures turned into the service's ModelError."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiosmrt.local._models import ModelFailure, ModelRequest
from aiosmrt.local._refusals import model_error, timed_out

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiosmrt.local._answers import Answer
    from aiosmrt.local._hosting import Deployment

__all__ = ["begin_answer", "whole_answer"]


async def begin_answer(
    deployment: Deployment, request: ModelRequest, *, seconds: float, region: str
) -> Answer:
    """Calls a model, and waits so many seconds until its answer begins.

    Raises:
        Refusal: ModelError, or what the model's backend refuses with.
    """
    with _as_model_error(deployment, request, region):
        return await asyncio.wait_for(deployment.backend.invoke(request), seconds)


async def whole_answer(
    deployment: Deployment, request: ModelRequest, *, seconds: float, limit: int, region: str
) -> tuple[Answer, bytes]:
    """Calls a model, and waits so many seconds until its answer is complete, with its body.

    Raises:
        Refusal: ModelError, or what the model's backend refuses with.
    """
    with _as_model_error(deployment, request, region):
        return await asyncio.wait_for(_whole(deployment, request, limit), seconds)


async def _whole(deployment: Deployment, request: ModelRequest, limit: int) -> tuple[Answer, bytes]:
    answer = await deployment.backend.invoke(request)
    return answer, await answer.read(limit)


@contextmanager
def _as_model_error(deployment: Deployment, request: ModelRequest, region: str) -> Generator[None]:
    try:
        yield
    # A model's own TimeoutError comes as a ModelFailure, so this one is ours.
    except (ModelFailure, asyncio.TimeoutError) as error:
        failure = error if isinstance(error, ModelFailure) else timed_out()
        raise model_error(
            failure,
            region=region,
            endpoint_name=request.endpoint_name,
            variant=deployment.variant_name,
        ) from error
