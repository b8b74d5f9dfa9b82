"""The clients that are compared, each behind the same three methods.

``invoke`` returns the length of the answer, and so does ``invoke_json`` of a client that
takes an object for its body; ``stream`` reads a stream to its end and
returns the number of its events, None for a client that does not decode them; ``hold``
reads the first bytes of a stream and returns what keeps it open. A client that reads paced
streams has ``begin``, which returns a stream before its first event, and ``follow``, which
reads it to its end and notes each event's stamp; ``follow_tokens`` and ``follow_sse`` do so
as a user of tokens or of server-sent events does. Each has as many connections as it wants,
and no library is imported before its client is opened.
"""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

from stamps import find_stamps

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLIENTS", "CONNECTIONS", "CONTENT_TYPE"]

CONNECTIONS = 1024
_REGION = "eu-west-1"
_KEY = "AKIAIOSFODNN7EXAMPLE"
_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CONTENT_TYPE = "application/json"


class Aiosmrt:
    async def open(self, url: str, ca: str | None) -> None:
        import aiosmrt

        self.session = aiosmrt.Session(
            region=_REGION,
            endpoint_url=url,
            credentials=aiosmrt.Credentials(_KEY, _SECRET),
            max_connections=CONNECTIONS,
            ssl=ssl.create_default_context(cafile=ca) if ca else None,
        )

    async def close(self) -> None:
        await self.session.aclose()

    async def invoke(self, endpoint: str, body: bytes) -> int:
        output = await self.session.invoke_endpoint(endpoint, body, content_type=CONTENT_TYPE)
        return len(output.body)

    async def invoke_json(self, endpoint: str, value: Any) -> int:
        return len((await self.session.invoke_endpoint(endpoint, json=value)).body)

    async def stream(self, endpoint: str, body: bytes) -> int | None:
        call = self.session.invoke_endpoint_with_response_stream
        events = 0
        async with call(endpoint, body, content_type=CONTENT_TYPE) as stream:
            async for _part in stream:
                events += 1
        return events

    async def hold(self, endpoint: str, body: bytes) -> Any:
        call = self.session.invoke_endpoint_with_response_stream
        stream = await call(endpoint, body, content_type=CONTENT_TYPE)
        await anext(stream)
        return stream

    async def drop(self, held: Any) -> None:
        await held.aclose()

    async def begin(self, endpoint: str, body: bytes) -> Any:
        call = self.session.invoke_endpoint_with_response_stream
        return await call(endpoint, body, content_type=CONTENT_TYPE)

    async def follow(self, stream: Any, note: Callable[[bytes], None]) -> None:
        async for part in stream:
            find_stamps(part.bytes, note)

    async def follow_tokens(self, stream: Any, note: Callable[[str], None]) -> None:
        async for token in stream.iter_tokens():
            note(token.text)

    async def follow_sse(self, stream: Any, note: Callable[[str], None]) -> None:
        async for event in stream.iter_sse():
            note(event.data.partition('"text":"')[2].partition('"')[0])


class Aiohttp:
    """Unsigned, unchecked, undecoded: the limit that the others are held to."""

    async def open(self, url: str, ca: str | None) -> None:
        import aiohttp

        context = ssl.create_default_context(cafile=ca) if ca else True
        connector = aiohttp.TCPConnector(limit=0, ssl=context)
        self.session = aiohttp.ClientSession(connector=connector)
        self.url = url
        self.headers = {"Content-Type": CONTENT_TYPE}

    async def close(self) -> None:
        await self.session.close()

    async def invoke(self, endpoint: str, body: bytes) -> int:
        url = f"{self.url}/endpoints/{endpoint}/invocations"
        async with self.session.post(url, data=body, headers=self.headers) as response:
            return len(await response.read())

    async def invoke_json(self, endpoint: str, value: Any) -> int:
        url = f"{self.url}/endpoints/{endpoint}/invocations"
        async with self.session.post(url, json=value) as response:
            return len(await response.read())

    async def stream(self, endpoint: str, body: bytes) -> int | None:
        async with await self.hold(endpoint, body) as response:
            async for _chunk in response.content.iter_any():
                pass

    async def hold(self, endpoint: str, body: bytes) -> Any:
        url = f"{self.url}/endpoints/{endpoint}/invocations-response-stream"
        return await self.session.post(url, data=body, headers=self.headers)

    async def drop(self, held: Any) -> None:
        held.close()

    begin = hold

    async def follow(self, stream: Any, note: Callable[[bytes], None]) -> None:
        async for chunk in stream.content.iter_any():
            find_stamps(chunk, note)


class Aiobotocore:
    async def open(self, url: str, ca: str | None) -> None:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        self.context = get_session().create_client(
            "sagemaker-runtime",
            region_name=_REGION,
            endpoint_url=url,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            verify=ca,
            config=AioConfig(max_pool_connections=CONNECTIONS),
        )
        self.client = await self.context.__aenter__()

    async def close(self) -> None:
        await self.context.__aexit__(None, None, None)

    async def invoke(self, endpoint: str, body: bytes) -> int:
        response = await self.client.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType=CONTENT_TYPE
        )
        async with response["Body"] as answer:
            return len(await answer.read())

    async def stream(self, endpoint: str, body: bytes) -> int | None:
        response = await self.client.invoke_endpoint_with_response_stream(
            EndpointName=endpoint, Body=body, ContentType=CONTENT_TYPE
        )
        events = 0
        async for _event in response["Body"]:
            events += 1
        return events

    async def hold(self, endpoint: str, body: bytes) -> Any:
        response = await self.client.invoke_endpoint_with_response_stream(
            EndpointName=endpoint, Body=body, ContentType=CONTENT_TYPE
        )
        events = aiter(response["Body"])
        await anext(events)
        return response["Body"], events

    async def drop(self, held: Any) -> None:
        held[0].close()

    async def begin(self, endpoint: str, body: bytes) -> Any:
        response = await self.client.invoke_endpoint_with_response_stream(
            EndpointName=endpoint, Body=body, ContentType=CONTENT_TYPE
        )
        return response["Body"]

    async def follow(self, stream: Any, note: Callable[[bytes], None]) -> None:
        async for event in stream:
            find_stamps(event["PayloadPart"]["Bytes"], note)

    async def follow_tokens(self, stream: Any, note: Callable[[str], None]) -> None:
        """By hand, as its users do, and in trust that each event is a whole one."""
        async for event in stream:
            data = event["PayloadPart"]["Bytes"].removeprefix(b"data:")
            note(json.loads(data)["token"]["text"])


class Capo:
    async def open(self, url: str, ca: str | None) -> None:
        from capo_sagemaker_runtime import AsyncSageMakerRuntimeClient
        from zapros import AsyncIOTransport, AsyncStdNetworkHandler

        context = ssl.create_default_context(cafile=ca) if ca else None
        # Its default is 10 connections, which makes the 64 of a test wait.
        pool = {
            "max_connections_per_host": CONNECTIONS,
            "max_idle_connections_per_host": CONNECTIONS,
        }
        self.client = AsyncSageMakerRuntimeClient(
            AsyncStdNetworkHandler(transport=AsyncIOTransport(ssl_context=context), http1=pool),
            region=_REGION,
            endpoint=url,
            credentials={"access_key": _KEY, "secret_key": _SECRET},
        )

    async def close(self) -> None:
        await self.client.__aexit__(None, None, None)

    async def invoke(self, endpoint: str, body: bytes) -> int:
        output = await self.client.invoke_endpoint(endpoint, body=body, content_type=CONTENT_TYPE)
        return len(output["body"])

    async def stream(self, endpoint: str, body: bytes) -> int | None:
        call = self.client.invoke_endpoint_with_response_stream
        events = 0
        async with call(endpoint, body=body, content_type=CONTENT_TYPE) as output:
            async for _event in output["body"]:
                events += 1
        return events

    async def hold(self, endpoint: str, body: bytes) -> Any:
        call = self.client.invoke_endpoint_with_response_stream
        context = call(endpoint, body=body, content_type=CONTENT_TYPE)
        output = await context.__aenter__()
        await anext(output["body"])
        return context

    async def drop(self, held: Any) -> None:
        await held.__aexit__(None, None, None)


class Boto3:
    """Called in threads, one for each call in flight; the methods are plain functions."""

    async def open(self, url: str, ca: str | None) -> None:
        import boto3
        from botocore.config import Config

        self.client = boto3.client(
            "sagemaker-runtime",
            region_name=_REGION,
            endpoint_url=url,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            verify=ca,
            config=Config(max_pool_connections=CONNECTIONS),
        )

    async def close(self) -> None:
        self.client.close()

    def invoke(self, endpoint: str, body: bytes) -> int:
        response = self.client.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType=CONTENT_TYPE
        )
        return len(response["Body"].read())

    def stream(self, endpoint: str, body: bytes) -> int | None:
        response = self.client.invoke_endpoint_with_response_stream(
            EndpointName=endpoint, Body=body, ContentType=CONTENT_TYPE
        )
        return sum(1 for _event in response["Body"])

    async def hold(self, endpoint: str, body: bytes) -> Any:
        response = self.client.invoke_endpoint_with_response_stream(
            EndpointName=endpoint, Body=body, ContentType=CONTENT_TYPE
        )
        next(iter(response["Body"]))
        return response["Body"]

    async def drop(self, held: Any) -> None:
        held.close()


CLIENTS = {
    "aiosmrt": Aiosmrt,
    "aiohttp": Aiohttp,
    "aiobotocore": Aiobotocore,
    "capo": Capo,
    "boto3": Boto3,
}
