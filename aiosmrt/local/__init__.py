"""SageMaker Runtime on this machine, for tests and development, for any AWS SDK.

    async with LocalEndpoint() as local:
        local.add_model("echo", handler)
        async with local.session() as session:
            out = await session.invoke_endpoint("echo", b"hello")

It speaks the service's wire protocol over real sockets: signatures, constraints,
errors, event streams, async inference with its results in an object store that
answers S3's requests on the same port. It is a development server: it listens on
loopback unless told otherwise, and everything it keeps is in memory.

Names are loaded when they are first used: every run of pytest loads this package
for its plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiosmrt.local._async_inference import AsyncInference
    from aiosmrt.local._endpoint import LocalEndpoint
    from aiosmrt.local._faults import Fault, Injection
    from aiosmrt.local._models import (
        Handler,
        ModelFailure,
        ModelRequest,
        ModelResponse,
        ReceivedRequest,
    )

__all__ = [
    "AsyncInference",
    "Fault",
    "Handler",
    "Injection",
    "LocalEndpoint",
    "ModelFailure",
    "ModelRequest",
    "ModelResponse",
    "ReceivedRequest",
]

_HOMES = {
    "AsyncInference": "_async_inference",
    "Fault": "_faults",
    "Injection": "_faults",
    "LocalEndpoint": "_endpoint",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'aiosmrt.local' has no attribute {name!r}")
    value = getattr(import_module(f"aiosmrt.local.{_HOMES.get(name, '_models')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
