"""Answers of many MiB: the loop's other tasks are not kept waiting while they are joined."""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support.memory import traced
from support.raw_server import answer, serve
from support.sessions import open_session
from support.streams import END, HEAD, chunk, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def largest_join() -> Iterator[Callable[[], int]]:
    """Gives what returns the most memory that one `bytes.join` took in this thread."""
    most = before = 0

    def look(_: object, event: str, called: object) -> None:
        nonlocal most, before
        if getattr(called, "__name__", "") == "join":
            now = tracemalloc.get_traced_memory()[0]
            if event == "c_call":
                before = now
            elif event == "c_return":
                most = max(most, now - before)

    profiler = sys.getprofile()
    with traced():
        sys.setprofile(look)
        try:
            yield lambda: most
        finally:
            sys.setprofile(profiler)


@pytest.mark.parametrize("is_stream", [False, True], ids=["body", "stream"])
async def test_a_long_answer_is_not_joined_on_the_loop(is_stream: bool) -> None:
    pieces = [b"%d" % number * 1_000_000 for number in range(24)]
    body = b"".join(pieces)
    wire = answer(body)
    if is_stream:
        wire = HEAD + b"".join(chunk(part(piece)) for piece in pieces) + END
    async with serve(wire) as server, open_session(server.url) as session:
        with largest_join() as largest:
            if is_stream:
                async with session.invoke_endpoint_with_response_stream("e", b"") as stream:
                    received = await stream.read()
            else:
                received = (await session.invoke_endpoint("e", b"")).body
            assert largest() < 8_000_000
    assert received == body
