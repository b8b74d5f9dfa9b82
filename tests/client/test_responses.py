"""Fuzzes what a server may send back.

Invariant: whatever bytes come back, in whatever pieces, and however the connection
ends, a call gives an output or raises an AiosmrtError; never another exception, never
a hang; and its slot and its connection are given back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from support.raw_server import Connection, RawServer
from support.sessions import open_once
from support.streams import HEAD, chunk, exception, part
from support.transports import at_rest

import aiosmrt
from aiosmrt import Timeouts

if TYPE_CHECKING:
    from collections.abc import Sequence


PART = part(b"token")
FAULT = exception("ModelStreamError", {"Message": "m"})


def whole(status: str, body: bytes, **fields: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


SEEDS = [
    whole("200 OK", b'{"a": "b"}', Content_Type="text/plain"),
    b"HTTP/1.1 100 Continue\r\n\r\n"
    + whole("202 Accepted", b'{"InferenceId": "i"}', X_Amzn_SageMaker_OutputLocation="s3://b/k"),
    whole(
        "424 Failed", b'{"Message": "m", "OriginalStatusCode": 5}', x_amzn_errortype="ModelError"
    ),
    whole("429 Slow", b'{"__type": "a#ModelNotReadyException"}', x_amz_retry_after="5"),
    whole("301 Moved", b"", Location="http://127.0.0.1:1/"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    HEAD + chunk(PART) + chunk(PART + PART[:20]) + chunk(PART[20:]) + b"0\r\n\r\n",
    HEAD + chunk(PART + FAULT) + b"0\r\n\r\n",
]

edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "repeat", "insert"]),
        st.integers(0, 400),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\r\n", b"\0", b":"])),
    ),
    max_size=4,
)


def mutate(seed: bytes, changes: Sequence[tuple[str, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for how, position, value in changes:
        at = position % (len(data) + 1)
        if how == "set":
            data[at : at + len(value)] = value
        elif how == "cut":
            del data[at : at + len(value)]
        elif how == "repeat":
            data[at:at] = data[at : at + 40]
        else:
            data[at:at] = value
    return bytes(data)


responses = st.one_of(
    st.builds(mutate, st.sampled_from(SEEDS), edits),
    st.binary(max_size=200),
    st.builds(b"HTTP/1.1 200 OK\r\n".__add__, st.binary(max_size=200)),
)


@given(
    responses,
    st.lists(st.integers(1, 300), max_size=3),
    st.sampled_from(["invoke", "stream", "async"]),
    st.sampled_from(["close", "reset", "wait"]),
)
def test_any_response_is_an_output_or_an_error(
    response: bytes, splits: list[int], call: str, end: str
) -> None:
    asyncio.run(_exchange(response, splits, call, end))


async def _exchange(response: bytes, splits: list[int], call: str, end: str) -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        start = 0
        for split in [*sorted(splits), len(response)]:
            await connection.send(response[start:split])
            await asyncio.sleep(0)
            start = max(start, split)
        if end == "reset":
            connection.reset()
        elif end == "wait":
            await connection.gone()

    async with RawServer(handler) as server:
        session = open_once(
            server.url,
            # No retry: a second answer would hide what the first one did.
            timeouts=Timeouts(read=0.05, idle=0.05, total=5.0),
            max_body_length=1 << 20,
        )
        async with session:
            with contextlib.suppress(aiosmrt.AiosmrtError):
                async with asyncio_timeout(10):
                    if call == "invoke":
                        await session.invoke_endpoint("e", b"x")
                    elif call == "async":
                        await session.invoke_endpoint_async("e", "s3://b/k")
                    else:
                        async with session.invoke_endpoint_with_response_stream(
                            "e", b"x"
                        ) as stream:
                            async for _ in stream:
                                pass
            await at_rest(session, server)


@contextlib.asynccontextmanager
async def asyncio_timeout(seconds: float):
    """`asyncio.timeout` of Python 3.11, for 3.10 too: a hang becomes a failure."""
    task = asyncio.current_task()
    timer = asyncio.get_running_loop().call_later(seconds, task.cancel, "hang")
    try:
        yield
    finally:
        timer.cancel()
