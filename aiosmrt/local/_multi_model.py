"""The models of a multi-model container: loaded when first called for, unloaded for others.

POST /models loads one, POST /models/NAME/invoke calls it, DELETE /models/NAME unloads it; 409
says that it is loaded already, 507 that there is no room. Source: "Build Your Own Container for
SageMaker AI Multi-Model Endpoints" of the SageMaker Developer Guide.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from aiosmrt.local._models import ModelFailure
from aiosmrt.local._refusals import model_not_ready, target_missing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["LoadedModels"]

# A call waits so long for its model; one that takes longer to load is not ready yet.
_LOAD_SECONDS = 2.0


class LoadedModels:
    """Which models the container holds.

    Args:
        ask: Sends the container a request (method, path, body); gives its status and text.
    """

    def __init__(self, ask: Callable[[str, str, bytes], Awaitable[tuple[int, str]]]) -> None:
        self._ask = ask
        # In order of their last use, the latest at the end.
        self._loaded: dict[str, None] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}

    async def path(self, endpoint_name: str, target_model: str | None) -> str:
        """The path that invokes a model, which is loaded first.

        Raises:
            Refusal: The call names none, or it is still being loaded.
            ModelFailure: The container cannot load it.
        """
        if target_model is None:
            raise target_missing("model")
        name = _name(target_model)
        if name in self._loaded:
            del self._loaded[name]
            self._loaded[name] = None
        else:
            if name not in self._loading:
                self._loading[name] = asyncio.create_task(self._load(name))
                self._loading[name].add_done_callback(partial(self._end, name))
            loading = self._loading[name]
            # The load goes on when this call gives up on it.
            await asyncio.wait({loading}, timeout=_LOAD_SECONDS)
            if not loading.done():
                raise model_not_ready(endpoint_name)
            loading.result()
        return f"/models/{name}/invoke"

    def _end(self, name: str, loading: asyncio.Task[None]) -> None:
        del self._loading[name]
        if not loading.cancelled():
            loading.exception()  # it may be that nobody waits for it any more

    def forget(self) -> None:
        """The container has gone: another one holds no models."""
        self._loaded.clear()

    def miss(self, target_model: str) -> None:
        """The container did not find a model: it may have been started anew meanwhile."""
        self._loaded.pop(_name(target_model), None)

    async def aclose(self) -> None:
        """Breaks off what is being loaded."""
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    async def _load(self, name: str) -> None:
        body = json.dumps({"model_name": name, "url": f"/opt/ml/models/{name}/model"}).encode()
        while True:
            status_code, text = await self._ask("POST", "/models", body)
            if status_code in (200, 409):
                self._loaded[name] = None
                return
            if status_code != 507 or not self._loaded:
                raise ModelFailure(status_code, text)
            oldest = next(iter(self._loaded))
            del self._loaded[oldest]
            await self._ask("DELETE", f"/models/{oldest}", b"")


def _name(target_model: str) -> str:
    """The name that the container is told, for the call's own may hold a slash."""
    return sha256(target_model.encode()).hexdigest()
