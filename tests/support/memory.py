"""Memory that Python takes, and what is left in it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Counts, for ``tracemalloc.get_traced_memory()``, what is taken from here on."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def taken(
    decoder: Iterable[object],
    chunks: Iterable[bytes],
    receive: Callable[[bytes], None] | None = None,
) -> int:
    """The bytes of memory that the steps took, one after the other, beyond what was held.

    Time would tell of the machine; but what joins or slices all that it has buffered
    takes that much memory again at every step.

    Args:
        decoder: Yields what is whole.
        chunks: What it is given, one after the other.
        receive: Gives it a chunk; its ``receive_data``, if this is None.
    """
    give = receive or decoder.receive_data  # type: ignore[attr-defined]

    def steps() -> Iterator[None]:
        for chunk in chunks:
            give(chunk)
            yield
            for _ in decoder:
                yield

    total = 0
    with traced():
        held = tracemalloc.get_traced_memory()[0]
        for _ in steps():
            now, peak = tracemalloc.get_traced_memory()
            total += max(peak - held, 0)
            held = now
            tracemalloc.reset_peak()
    return total


def futures() -> int:
    """How many futures there are, tasks among them."""
    gc.collect()
    return sum(isinstance(each, asyncio.Future) for each in gc.get_objects())
