"""Memory that Python takes."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Counts, for ``tracemalloc.get_traced_memory()``, what is taken from here on."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
