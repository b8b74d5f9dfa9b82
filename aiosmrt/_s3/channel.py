"""Signed requests to S3 over the session's own transport.

A request goes to the bucket's own host and nowhere else: no redirect is followed. Where S3
says that the bucket is in another region, the request is made once more at that region's host,
which is put together here.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from hashlib import sha256
from typing import TYPE_CHECKING

import attrs

from aiosmrt._aws.canonical import octets
from aiosmrt._protocol.http_dates import parse_http_date
from aiosmrt._s3.addresses import bucket_address, home_region, may_be_region
from aiosmrt._s3.documents import DocumentError
from aiosmrt._s3.hosts import Hosts
from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.object_errors import is_passing, read_refusal
from aiosmrt.errors import (
    AiosmrtError,
    ConnectionLostError,
    StreamTruncatedError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiosmrt._aws.config import Config
    from aiosmrt._aws.credentials import Credentials, SessionProvider
    from aiosmrt._aws.signer import SigV4Signer
    from aiosmrt._protocol.models import Timeouts
    from aiosmrt._s3.documents import DocumentReader
    from aiosmrt._s3.object_errors import Refusal
    from aiosmrt._threads import Threads
    from aiosmrt._transport import Exchange, Transport, Verification

__all__ = ["Patience", "S3Channel", "S3Request", "locate"]

_logger = logging.getLogger("aiosmrt")

# Of how many buckets the region is remembered; and regions that are signed for.
_MAX_REGIONS = 4096
_MAX_SIGNERS = 64
# An error's document is short; a proxy's page may be anything.
_REFUSAL_LENGTH = 65_536
# The delays of `aiosmrt._aws.retries` for what fails transiently.
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 20.0
# How long a document may take to come, however small its pieces; that of an upload's completion
# comes after minutes of white space. And how long a refusal's, whose status says the most.
DOCUMENT_SECONDS = 600.0
REFUSAL_SECONDS = 10.0
_NO_BODY_HASH = sha256(b"").hexdigest()


@attrs.frozen(kw_only=True)
class S3Request:
    """One request to S3.

    Attributes:
        operation: S3's name of it, for error texts.
        method: The HTTP method.
        location: The object, or the prefix in the bucket that is asked.
        path: The path below the bucket, percent-encoded; empty for the bucket itself.
        query: The query, percent-encoded.
        headers: Further headers. Those that are not ``x-amz-`` are not signed.
        body: The body.
        body_hash: Its SHA-256 in hex.
    """

    operation: str
    method: str
    location: S3Location
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | bytearray | memoryview = attrs.field(default=b"", repr=False)
    body_hash: str = _NO_BODY_HASH


class _Sent:
    """What a request was signed with and for."""

    __slots__ = ("credentials", "offset", "region", "signer")

    def __init__(self, credentials: Credentials, signer: SigV4Signer, region: str) -> None:
        self.credentials = credentials
        self.signer = signer
        self.region = region
        self.offset: float = signer.offset_seconds


class Patience:
    """Counts the attempts at one thing, and waits between them.

    Args:
        channel: The way to S3.
        sleep: Waits for so many seconds.
        rand: Gives a number from 0 to 1, which a delay is multiplied by.
    """

    def __init__(
        self,
        channel: S3Channel,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._channel = channel
        self._sleep = sleep
        self._rand = rand
        self._failures = 0

    async def wait(self, error: AiosmrtError) -> None:
        """Waits before the next attempt.

        Raises:
            AiosmrtError: The error, where it is final or there is no further attempt.
        """
        self._channel.check_open()  # else that is why
        self._failures += 1
        if self._failures >= self._channel.attempts or not is_passing(error):
            raise error
        delay = min(_FIRST_DELAY * 2 ** min(self._failures - 1, 16), _LONGEST_DELAY)
        await self._sleep(delay * self._rand())

    def renew(self) -> None:
        """Begins to count again, after an attempt that got further."""
        self._failures = 0


class S3Channel:
    """The way to S3, with a session's settings. It opens nothing before it is first used.

    Args:
        config: The session's settings: region, S3's URL, FIPS and dual-stack hosts, attempts.
        provider: The session's credentials.
        get_signer: Gives the session's signer, whose clock signatures for S3 go by.
        timeouts: ``connect``, ``read`` and ``idle``.
        proxy: The proxy's URL.
        tls: What S3 is verified by, as the transport takes it.
        user_agent: The User-Agent header's value.
        threads: The session's.

    Attributes:
        timeouts: As given.
        threads: As given.
        attempts: How often what fails in passing is tried, by the session's policy.
    """

    def __init__(
        self,
        config: Config,
        provider: SessionProvider,
        *,
        get_signer: Callable[[], Awaitable[SigV4Signer]],
        timeouts: Timeouts,
        proxy: str | None,
        tls: Verification,
        user_agent: str,
        threads: Threads,
    ) -> None:
        self._config = config
        self._provider = provider
        self._get_signer = get_signer
        self._credentials: Credentials | None = None
        self._is_apart = False
        self._hosts = Hosts(timeouts, proxy=proxy, tls=tls, threads=threads)
        self._user_agent = user_agent
        self._regions: dict[str, str] = {}
        self._signers: dict[str, SigV4Signer] = {}
        self.timeouts: Timeouts = timeouts
        self.threads: Threads = threads
        self.attempts: int = config.retries.max_attempts

    def check_open(self) -> None:
        """Raises TransportError if ``close`` was called."""
        self._hosts.check_open()

    def close(self) -> None:
        """Drops all connections at once; later requests fail. Idempotent."""
        self._hosts.close()

    async def aclose(self) -> None:
        """Drops all connections, and waits until they are closed. Idempotent."""
        await self._hosts.aclose()

    def apart(self) -> S3Channel:
        """Makes a channel for cleaning up when this one is closed or has no credentials left.

        Its connections are its own, and it must be closed.
        """
        channel = copy.copy(self)
        channel._hosts, channel._is_apart = self._hosts.apart(), True  # noqa: SLF001 - its own
        return channel

    async def ask_patiently(self, request: S3Request) -> Exchange:
        """Makes a request as `ask` does, and again for as often as the policy says.

        Raises:
            AiosmrtError: As `ask`, of the last attempt.
        """
        patience = Patience(self)
        while True:
            try:
                return await self.ask(request)
            except AiosmrtError as error:
                await patience.wait(error)

    async def ask(self, request: S3Request) -> Exchange:
        """Makes a request; a second time where S3 has said what was wrong with it.

        Args:
            request: What to ask.

        Returns:
            The exchange with the head of an answer that grants it; the body is to be read,
            and the exchange to be released.

        Raises:
            ServiceError: S3 refused.
            TransportError: S3 did not answer.
            CredentialsError: There are no credentials.
        """
        repaired: set[str] = set()
        while True:
            credentials = await self._get_credentials()
            signer = await self._get_signer()
            sent = _Sent(credentials, signer, self._region(request.location))
            try:
                exchange = await self._send(request, sent)
                if 200 <= exchange.status_code < 300:
                    return exchange
                refusal = await self._read_refusal(request, exchange)
            except TransportError as error:
                locate(error, request)
                raise
            cause = refusal.cause
            if cause is None or cause in repaired or not await self._repair(request, refusal, sent):
                raise refusal.error
            repaired.add(cause)

    async def ask_for_document(
        self, request: S3Request, document: DocumentReader, *, root: str
    ) -> None:
        """Makes a request as `ask` does, and reads the document that answers it.

        Args:
            request: What to ask.
            document: Takes the answer.
            root: The name of the root that the answer must have.

        Raises:
            ServiceError: S3 refused, perhaps behind a 200.
            TransportError: S3 did not answer, or not with such a document.
            CredentialsError: There are no credentials.
        """
        exchange = await self.ask(request)
        beginning = b""
        end = asyncio.get_running_loop().time() + DOCUMENT_SECONDS
        try:
            while pieces := await exchange.receive_chunks(self.timeouts.idle):
                if asyncio.get_running_loop().time() > end:
                    raise DocumentError(f"it has not ended after {DOCUMENT_SECONDS} s")
                for piece in pieces:
                    document.feed(piece)
                    if len(beginning) < _REFUSAL_LENGTH:
                        beginning += piece[:_REFUSAL_LENGTH]
            document.close()
        except TransportError as error:
            locate(error, request)
            raise
        except StreamTruncatedError:
            lost = ConnectionLostError("The answer broke off", head_received=True)
            locate(lost, request)
            raise lost from None
        except DocumentError as fault:
            exchange.close()
            raise _no_document(request, f"is not a document of S3's: {fault}") from None
        exchange.release()
        if document.root == "Error":
            raise _refusal(request, exchange, beginning).error
        if document.root != root:
            raise _no_document(request, f"is no {root}")

    async def _get_credentials(self) -> Credentials:
        """The provider's; those used last where they do for a cleaning-up, and it has none."""
        try:
            found = self._provider.current() or await self._provider.get_credentials()
        except AiosmrtError:
            if not self._is_apart or self._credentials is None:
                raise
            return self._credentials
        self._credentials = found
        return found

    async def _send(self, request: S3Request, sent: _Sent) -> Exchange:
        """Sends a request to the bucket's host, and reads the head of the answer."""
        address = bucket_address(request.location.bucket, sent.region, self._config)

        def write_head(transport: Transport) -> bytes:
            return self._head(request, address.path, transport, sent)

        return await self._hosts.send(address.url, write_head, request.body)

    def _head(
        self, request: S3Request, bucket_path: str, transport: Transport, sent: _Sent
    ) -> bytes:
        """Writes the request's head, signed now."""
        path = f"{transport.path_prefix}{bucket_path}{request.path}" or "/"
        target = f"{path}?{request.query}" if request.query else path
        headers = (("Host", transport.host), *request.headers)
        signer = self._signers.get(sent.region)
        if signer is None:
            if len(self._signers) >= _MAX_SIGNERS:
                self._signers.clear()
            signer = self._signers[sent.region] = sent.signer.beside(sent.region, "s3")
        signed = signer.sign(request.method, target, headers, request.body_hash, sent.credentials)
        unsigned = [("User-Agent", self._user_agent), *transport.proxy_headers]
        if request.method in ("PUT", "POST"):
            unsigned.append(("Content-Length", str(len(request.body))))
        target = f"{transport.target_prefix}{target}"
        return _written(request.method, target, (*headers, *unsigned, *signed))

    async def _read_refusal(self, request: S3Request, exchange: Exchange) -> Refusal:
        """Reads as much of a refusal's body as comes: the status is known, and counts for more."""
        body = b""
        end = asyncio.get_running_loop().time() + REFUSAL_SECONDS
        try:
            while (
                len(body) < _REFUSAL_LENGTH
                and asyncio.get_running_loop().time() < end
                and (piece := await exchange.receive(self.timeouts.idle))
            ):
                body += piece
        except (TransportError, StreamTruncatedError):
            pass
        exchange.release()
        return _refusal(request, exchange, body)

    async def _repair(self, request: S3Request, refusal: Refusal, sent: _Sent) -> bool:
        """Removes the cause of a refusal, and returns whether that could be done."""
        if refusal.cause == "region":
            return await self._find_region(request.location, refusal.region, sent)
        if refusal.cause == "clock":
            theirs = parse_http_date(refusal.date or "")
            return theirs is not None and sent.signer.learn_clock(theirs, signed_with=sent.offset)
        try:
            return await self._provider.refresh(sent.credentials) != sent.credentials
        except AiosmrtError as failure:
            refusal.error.retry_stopped = "the credentials could not be renewed"
            _logger.warning("the credentials have expired, and renewing them failed: %s", failure)
            return False

    def _region(self, location: S3Location) -> str:
        return self._regions.get(location.bucket) or home_region(self._config)

    async def _find_region(self, location: S3Location, named: str | None, sent: _Sent) -> bool:
        """Notes a bucket's region, and returns whether the request was made for another."""
        if self._region(location) != sent.region:
            return True  # another request has found it meanwhile
        found = named or await self._ask_for_region(location, sent.region)
        if found is None or found == sent.region or not may_be_region(found, self._config):
            return False
        if len(self._regions) >= _MAX_REGIONS:
            self._regions.clear()
        self._regions[location.bucket] = found
        return True

    async def _ask_for_region(self, location: S3Location, region: str) -> str | None:
        """Asks S3 for a bucket's region, as anybody may (HeadBucket, unsigned)."""
        address = bucket_address(location.bucket, region, self._config)

        def write_head(transport: Transport) -> bytes:
            target = f"{transport.target_prefix}{transport.path_prefix}{address.path or '/'}"
            headers = (("Host", transport.host), *transport.proxy_headers)
            return _written("HEAD", target, headers)

        try:
            exchange = await self._hosts.send(address.url, write_head)
        except TransportError:
            return None
        exchange.close()  # the body that its headers announce does not come
        return exchange.headers.get("x-amz-bucket-region")


def locate(error: TransportError, request: S3Request) -> None:
    """Adds to an error what was asked for, once."""
    if error.operation is None:
        error.operation = request.operation
        error.message = f"{request.location}: {error.message}"


def _refusal(request: S3Request, exchange: Exchange, body: bytes) -> Refusal:
    return read_refusal(
        exchange.status_code,
        exchange.headers,
        body,
        operation=request.operation,
        uri=str(request.location),
    )


def _no_document(request: S3Request, what: str) -> TransportError:
    error = TransportError(f"The answer {what}. Check that S3's URL and the proxy lead to S3")
    locate(error, request)
    return error


def _written(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return octets(f"{method} {target} HTTP/1.1\r\n{lines}\r\n")
