"""Many calls at once: what `Session.invoke_many` and `Session.stream_many` stand on.

- `batch_items`: the iterator in the consumer's hands.
- `items`: what it gives, one item for each request.
- `workers`: the tasks behind it.
- `source`: the requests that they read.
- `calls`: one call.
- `pace`: how many calls at once and how fast.
- `adaptive`: how many calls at once, found out.
- `rate`: how many calls a second, where that is given.
"""

from __future__ import annotations

from aiosmrt._client.many.adaptive import AdaptiveConcurrency
from aiosmrt._client.many.batch_items import BatchItems, InvokeRequest, StreamRequest, give_all
from aiosmrt._client.many.calls import InvokeCall, StreamCall
from aiosmrt._client.many.items import BatchItem, CollectedStream
from aiosmrt._client.many.rate import RateLimit
from aiosmrt._client.many.source import ReadAhead
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
    "ReadAhead",
    "StreamCall",
    "StreamRequest",
    "give_all",
]
