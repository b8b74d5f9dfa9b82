"""Many calls at once: what `Session.invoke_many` and `Session.stream_many` stand on.

- `items`: what comes out, one item a request.
- `calls`: one of the calls.
- `many`: the iterator.
- `workers`: the tasks behind it.
- `adaptive`: how many calls at once, where that is not told.
- `rate`: how many calls a second, where that is told.
"""

from __future__ import annotations

from aiosmrt.concurrency.adaptive import AdaptiveConcurrency
from aiosmrt.concurrency.calls import InvokeCall, StreamCall
from aiosmrt.concurrency.items import BatchItem, CollectedStream
from aiosmrt.concurrency.many import BatchItems, InvokeRequest, StreamRequest
from aiosmrt.concurrency.rate import RateLimit
from aiosmrt.concurrency.workers import ManyOptions

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
