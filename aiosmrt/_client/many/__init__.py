"""Many calls at once: what `Session.invoke_many` and `Session.stream_many` stand on.

- `items`: what comes out, one item a request.
- `calls`: one of the calls.
- `many`: the iterator.
- `workers`: the tasks behind it.
- `adaptive`: how many calls at once, where that is not told.
- `rate`: how many calls a second, where that is told.
"""

from __future__ import annotations

from aiosmrt._client.many.adaptive import AdaptiveConcurrency
from aiosmrt._client.many.batch_items import BatchItems, InvokeRequest, StreamRequest
from aiosmrt._client.many.calls import InvokeCall, StreamCall
from aiosmrt._client.many.items import BatchItem, CollectedStream
from aiosmrt._client.many.rate import RateLimit
from aiosmrt._client.many.workers import ManyOptions

__all__ = [
    "AdaptiveConcurrency",
    "BatchItem",
    "BatchItems",
    "CollectedStream",
    "InvokeCall",
    "InvokeRequest",
    "ManyOptions",
    "RateLimit",
    "StreamCall",
    "StreamRequest",
]
