"""Calls that are wrong, each of which both type checkers must catch.

Nothing runs this. mypy (warn_unused_ignores) and pyright (the line below) fail on an ignore
that ignores nothing: so on a wrong call that one of them takes. test_exports.py counts the
two ignores of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiosmrt
from aiosmrt.eventstream import EventStreamDecoder, encode_message

if TYPE_CHECKING:
    from aiosmrt.local import LocalEndpoint, ModelRequest


async def configuration() -> None:
    aiosmrt.Session(timeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    aiosmrt.Session(timeouts=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aiosmrt.Session("eu-west-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    aiosmrt.Timeouts(read="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aiosmrt.Timeouts(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    aiosmrt.RetryPolicy(mode="legacy")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aiosmrt.Credentials("AKID")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    class Vault:
        def get_credentials(self) -> aiosmrt.Credentials:  # not a coroutine
            return aiosmrt.Credentials("AKID", "secret")

    aiosmrt.CachingProvider(Vault())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def invoke(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.invoke_endpoint("e", {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.invoke_endpoint("e", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.invoke_endpoint(EndpointName="e")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.invoke_endpoint("e", b"", "text/csv")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.invoke_endpoint("e", b"", retries=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.invoke_endpoint("e", b"").body  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    output = await session.invoke_endpoint("e", b"")
    output["Body"]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    output.body.read()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    output.body = b""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    output.content_type.lower()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    with session:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


async def stream(session: aiosmrt.Session) -> None:
    call = session.invoke_endpoint_with_response_stream("llm", b"")
    async for _ in call:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    async with call as parts:
        for _ in parts:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
            pass
        async for part in parts:
            part["PayloadPart"]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
        async for line in parts.iter_lines():
            line.decode()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def queue(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint_async("e", b"body")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.invoke_endpoint_async("e", input="s3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    invocation = await session.invoke_endpoint_async("e", "s3://bucket/key")
    await invocation.result("900")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def batch(session: aiosmrt.Session) -> None:
    session.invoke_many("e", [1, 2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    session.invoke_many("e", [b""], on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.invoke_many("e", [b""], acept="text/csv")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    session.invoke_many("e", [b""], accept=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.stream_many("e", [b""], target_model="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await aiosmrt.batch.run(session, "e", "in.csv", "out.csv", acept="text/csv")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async for item in session.invoke_many("e", [b""]):
        item.output.body  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]


async def serve(local: LocalEndpoint) -> None:
    async def number(request: ModelRequest) -> int:
        return len(request.body)

    local.add_model("number", number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    local.put_object("s3://bucket/key", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def decode() -> None:
    EventStreamDecoder().receive_data("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    encode_message({"name": 1.5}, b"")  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
