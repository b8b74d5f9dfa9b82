"""S3's objects, through obstore: the only module that sees it or catches its exceptions.

obstore brings HTTP, signatures, multipart uploads and resumed downloads. It reads no
configuration of its own here: region, endpoint and credentials are the session's. What it
would take from ``AWS_`` variables is overruled, but for the encryption and the checksum of
uploads (``AWS_SERVER_SIDE_ENCRYPTION``, ``AWS_SSE_...``, ``AWS_CHECKSUM_ALGORITHM``), which
it has no value to switch off with.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import quote, urlsplit

import attrs

from aiosmrt._aws.endpoints import partition_for
from aiosmrt._s3.interpreter_exit import interpreter_exit
from aiosmrt._s3.object_errors import read_failure
from aiosmrt._s3.upload_parts import UploadParts
from aiosmrt._transport import (
    Transport,
    authorities,
    beside_the_service,
    environment_proxy,
)
from aiosmrt.errors import (
    AiosmrtError,
    ConfigurationError,
    ExpiredTokenException,
    ParameterValidationError,
    TransportError,
)

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from obstore import GetResult
    from obstore.store import BackoffConfig, ClientConfig, S3Store

    from aiosmrt._aws.config import Config
    from aiosmrt._aws.credentials import Credentials, SessionProvider
    from aiosmrt._protocol.models import Timeouts
    from aiosmrt._s3.object_errors import ObjectFailure
    from aiosmrt._transport import Verification

__all__ = ["LIST_PAGE_LENGTH", "ObjectStore", "S3Location", "StoredObject"]

LIST_PAGE_LENGTH = 1000
"""The most keys that one ListObjectsV2 tells."""

_INSTALL = "pip install 'aiosmrt[s3]'"
_URI = re.compile(r"s3://([^/?#]+)/(.+)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What can stand before ".s3." in a host that a certificate for *.s3. covers: no dots.
_HOST_LABEL_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# Of each purpose: a look must not wait for uploads, nor a result for what is being saved.
_CONCURRENT_REQUESTS = 64
# Of uploads in parts, each of which holds 30 MiB and more: 64 of them took 1.9 GB.
_CONCURRENT_MULTIPART = 4
# Each has connections of its own.
_MAX_STORES = 64
# S3 closes an idle connection after some 20 s.
_KEEPALIVE = timedelta(seconds=15)
# For "no limit": obstore's own default would end a long download after 30 s.
_EVER = timedelta(days=365)
# That of `aiosmrt._aws.retries` for what fails transiently.
_BACKOFF: BackoffConfig = {
    "init_backoff": timedelta(milliseconds=50),
    "max_backoff": timedelta(seconds=20),
    "base": 2,
}
_LONG_PAST = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CHUNK_LENGTH = 1_048_576
_CONCURRENT_PARTS = 4
_PART_TIMEOUT = timedelta(minutes=10)

_T = TypeVar("_T")
_Purpose: TypeAlias = Literal["list", "look", "read", "download", "upload"]
# Downloads and uploads are repeated by obstore, part by part; the others by whoever asks.
_Client: TypeAlias = Literal["ask", "download", "upload"]


@attrs.frozen
class S3Location:
    """A place in S3.

    Attributes:
        bucket: The bucket's name.
        key: The object's key, or a prefix that ends with ``/``; empty for a whole bucket.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, uri: str, parameter: str) -> S3Location:
        """Reads an ``s3://bucket/key`` URI.

        Args:
            uri: The URI; what follows the bucket is the key as it is, not percent-encoded.
            parameter: The name that an error gives it.

        Raises:
            ParameterValidationError: It is not such a URI, or a key that obstore cannot name.
        """
        found = _URI.fullmatch(uri) if isinstance(uri, str) else None
        if found is None:
            length = len(uri) if isinstance(uri, str) else None
            rule = "must be an S3 URI with a key: s3://bucket/key"
            raise ParameterValidationError(parameter, rule, length=length)
        bucket, key = found.groups()
        if _CONTROL.search(key) or {".", ".."} & set(key.split("/")):
            rule = "must have a key without control characters and without the segments . and .."
            raise ParameterValidationError(parameter, rule, length=len(uri))
        return cls(bucket, key)

    @property
    def directory(self) -> S3Location:
        """The prefix up to the last slash of the key."""
        head, slash, _ = self.key.rpartition("/")
        return S3Location(self.bucket, head + slash)

    def split(self) -> tuple[str, str]:
        """Parts the key behind its last empty segment.

        obstore takes no key with one (``a//b``). Its base URL may have any path, though.

        Returns:
            What the base URL ends with, and what obstore is told.
        """
        base, slashes, rest = f"/{self.key}".rpartition("//")
        return (base + "/", rest) if slashes else ("", self.key)


class StoredObject:
    """An object that S3 has begun to send; it is to be read, or closed.

    Attributes:
        location: Where it lies.
        size: Its length in bytes.
        etag: Its version's tag, None where S3 told none.
        content_type: Its MIME type, None where S3 told none.
    """

    def __init__(
        self,
        location: S3Location,
        result: GetResult,
        host: str,
        *,
        renew: Callable[[], Awaitable[object]],
        closed: Callable[[], None],
    ) -> None:
        self._result: GetResult | None = result
        self._host = host
        self._renew = renew
        self._closed = closed
        self.location = location
        self.size: int = result.meta["size"]
        self.etag: str | None = result.meta["e_tag"]
        self.content_type: str | None = result.attributes.get("Content-Type")

    async def read(self) -> bytes:
        """Reads the whole object. Once, in the place of `chunks`.

        Raises:
            TransportError: It did not arrive whole.
        """
        opened = self._opened()
        try:
            return bytes(await opened.bytes_async())
        except Exception as error:  # noqa: BLE001 - obstore's are of many roots
            raise self._lost(error) from None
        finally:
            self.close()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Reads the object in pieces of a mebibyte or a little more. Once.

        Yields:
            The next piece.

        Raises:
            TransportError: The rest did not arrive.
            CredentialsError: The credentials ran out, and there are no new ones.
        """
        stream = self._opened().stream(_CHUNK_LENGTH)
        try:
            while True:
                # Where the connection breaks, obstore asks for the rest, signed with these.
                await self._renew()
                try:
                    chunk = await anext(stream)
                except StopAsyncIteration:
                    return
                except Exception as error:  # noqa: BLE001 - obstore's are of many roots
                    raise self._lost(error) from None
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Gives up what has not been read. Idempotent."""
        if self._result is not None:
            self._result = None
            self._closed()
            interpreter_exit.note_answer()

    def _opened(self) -> GetResult:
        if self._result is None:
            raise TransportError(f"{self.location} was read or closed before", host=self._host)
        return self._result

    def _lost(self, error: Exception) -> AiosmrtError:
        return read_failure(
            error, operation="GetObject", uri=str(self.location), host=self._host
        ).error


class ObjectStore:
    """S3 with a session's settings. It opens nothing before it is first used.

    Args:
        config: The session's settings: region, S3's URL, FIPS and dual-stack hosts.
        provider: The session's credentials.
        timeouts: ``connect``; ``read`` and ``idle`` bound the silence of a look and of a download.
        proxy: The proxy's URL.
        tls: What S3 is verified by, as the transport takes it; obstore trusts the authorities
            of a context or a file beside those that it knows, and presents no certificate.
        user_agent: The User-Agent header's value.
    """

    def __init__(
        self,
        config: Config,
        provider: SessionProvider,
        *,
        timeouts: Timeouts,
        proxy: str | None,
        tls: Verification,
        user_agent: str,
    ) -> None:
        self._config = config
        self._provider = provider
        self._timeouts = timeouts
        self._proxy = proxy
        self._tls = beside_the_service(tls, config.ca_bundle)
        self._user_agent = user_agent
        self._credentials: Credentials | None = None
        self._regions: dict[str, str] = {}
        # By URL and region, both of which change when a bucket's region is found.
        self._stores: dict[tuple[str, str, _Client], S3Store] = {}
        self._opening = asyncio.Lock()
        self._slots: dict[_Purpose, asyncio.Semaphore] = {
            purpose: asyncio.Semaphore(_CONCURRENT_REQUESTS) for purpose in get_args(_Purpose)
        }
        self._multipart = asyncio.Semaphore(_CONCURRENT_MULTIPART)
        self._readings: set[asyncio.Future[list[str] | None]] = set()

    async def get(
        self, location: S3Location, *, etag: str | None = None, purpose: _Purpose = "look"
    ) -> StoredObject:
        """Asks for an object (GetObject), and returns when S3 begins to send it.

        Args:
            location: Which.
            etag: The version that it must be; None for whichever is there.
            purpose: ``look``, or ``read`` for what is there, for one request; ``download`` to
                try again what fails, and to go on where a connection broke. Of each purpose
                so many objects at most are open at once; others wait until one is read.

        Returns:
            The object, its bytes not yet read.

        Raises:
            ServiceError: S3 refused; 404 with the code NoSuchKey where it is not there.
            TransportError: S3 did not answer.
            CredentialsError: There are no credentials.
        """

        async def ask(store: S3Store, path: str) -> GetResult:
            return await store.get_async(path, options={"if_match": etag} if etag else None)

        slots = self._slots[purpose]
        await slots.acquire()
        try:
            client: _Client = "download" if purpose == "download" else "ask"
            result = await self._ask("GetObject", location, client, ask)
        except BaseException:
            slots.release()
            raise
        return StoredObject(
            location,
            result,
            self._host(location),
            renew=self._renew_credentials,
            closed=slots.release,
        )

    async def list_page(self, directory: S3Location, after: str) -> list[str] | None:
        """Lists keys in one request (ListObjectsV2), those in directories below included.

        Args:
            directory: A prefix that ends with ``/``, or a whole bucket.
            after: The key behind which the page begins.

        Returns:
            At most `LIST_PAGE_LENGTH` keys in S3's order; fewer are the last ones. None where
            the prefix, or a key below it, is one that obstore cannot name.

        Raises:
            ServiceError: S3 refused.
            TransportError: S3 did not answer.
            CredentialsError: There are no credentials.
        """
        if directory.split()[0]:
            return None

        async def ask(store: S3Store, path: str) -> list[str] | None:
            from obstore.exceptions import InvalidPathError

            untyped: Any = store  # its annotations here want those of arrow, which is not needed
            nothing: list[dict[str, Any]] = []
            pages = untyped.list(path or None, offset=after, chunk_size=LIST_PAGE_LENGTH)

            async def read() -> list[str] | None:
                try:
                    return [entry["path"] for entry in await anext(pages, nothing)]
                except InvalidPathError:
                    return None

            # Read to its end even where nobody waits for it any more: pages that are dropped
            # under way give their connection back outside of obstore's own runtime, which can
            # panic, and leave the client's pool unusable.
            reading = asyncio.ensure_future(read())
            self._readings.add(reading)
            reading.add_done_callback(self._readings.discard)
            # Retrieved, should nobody be there to whom it could be raised.
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
            return await asyncio.shield(reading)

        async with self._slots["list"]:
            return await self._ask("ListObjectsV2", directory, "ask", ask)

    async def put(
        self,
        location: S3Location,
        body: bytes | bytearray | memoryview | os.PathLike[str],
        *,
        content_type: str | None,
    ) -> None:
        """Writes an object: a longer one part by part, as it is read from the disk.

        Nobody sees it before it is whole, and four go in parts at a time. What fails is tried
        again part by part; when that fails too, or the task is cancelled, S3 is told to forget
        the parts. (obstore 0.11, the last one for Python 3.10, does not tell it when one of the
        last parts has failed.)

        Args:
            location: Where.
            body: Its bytes, or the path of a file.
            content_type: Its MIME type; None leaves that to S3.

        Raises:
            ServiceError: S3 refused.
            TransportError: S3 did not answer.
            CredentialsError: There are no credentials.
            OSError: The file cannot be read, is not a regular one, or changed meanwhile.
        """
        attributes = {"Content-Type": content_type} if content_type is not None else None

        async with self._slots["upload"], UploadParts(body, self._renew_credentials) as parts:

            async def ask(store: S3Store, path: str) -> None:
                await parts.rewind()
                if parts.total_length <= parts.part_length:
                    whole = await anext(parts, b"")
                    await store.put_async(path, whole, attributes=attributes, use_multipart=False)
                    return
                length, most = parts.part_length, _CONCURRENT_PARTS
                async with self._multipart:
                    upload = store.put_async(
                        path, parts, attributes=attributes, chunk_size=length, max_concurrency=most
                    )
                    await parts.finish(asyncio.ensure_future(upload))

            try:
                await self._ask("PutObject", location, "upload", ask)
            except AiosmrtError:
                if parts.error is not None:
                    raise parts.error from None
                raise

    async def aclose(self) -> None:
        """Ends the listings that nobody waits for any more, after a second to end by themselves."""
        if self._readings:
            _, pending = await asyncio.wait(self._readings, timeout=1.0)
            for reading in pending:
                reading.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _ask(
        self,
        operation: str,
        location: S3Location,
        client: _Client,
        ask: Callable[[S3Store, str], Awaitable[_T]],
    ) -> _T:
        """Makes one request; a second one where the first told what was wrong with it."""
        mended: set[str] = set()
        while True:
            credentials = await self._renew_credentials()
            region = self._region(location)
            store = await self._open(location, client)
            try:
                return await ask(store, location.split()[1])
            except AiosmrtError:
                raise
            except Exception as error:  # noqa: BLE001 - obstore's are of many roots
                failure = read_failure(
                    error, operation=operation, uri=str(location), host=self._host(location)
                )
            finally:
                interpreter_exit.note_answer()
            if not await self._mend(failure, location, credentials, region, mended):
                # Not from obstore's: what that quotes of S3's answer may hold a secret.
                raise failure.error from None

    async def _renew_credentials(self) -> Credentials:
        """Takes the provider's present credentials; obstore gets these."""
        found = self._provider.current()
        if found is None:
            found = await self._provider.get_credentials()
        self._credentials = found
        return found

    def _give_credentials(self) -> Any:
        """What obstore calls for every request, in a thread of its own."""
        found = self._credentials
        assert found is not None  # noqa: S101 - for the type checker: every request begins there
        return {
            "access_key_id": found.access_key_id,
            "secret_access_key": found.secret_access_key,
            "token": found.session_token,
            "expires_at": _LONG_PAST,  # so that it keeps none
        }

    async def _mend(
        self,
        failure: ObjectFailure,
        location: S3Location,
        credentials: Credentials,
        region: str,
        mended: set[str],
    ) -> bool:
        """Removes a failure's cause where that can be done, once: region, credentials."""
        if failure.is_redirect and "region" not in mended:
            mended.add("region")
            if self._region(location) != region:
                return True  # another request has found it meanwhile
            found = failure.region or await self._find_region(location)
            if found is None or found == region:
                return False
            self._regions[location.bucket] = found
            return True
        if isinstance(failure.error, ExpiredTokenException) and "credentials" not in mended:
            mended.add("credentials")
            return await self._provider.refresh(credentials) != credentials
        return False

    def _region(self, location: S3Location) -> str:
        return self._regions.get(location.bucket, self._config.region)

    def _bucket_url(self, location: S3Location) -> str:
        """The bucket's URL: path style at an endpoint of the user's own, else its own host."""
        bucket = location.bucket
        if self._config.s3_endpoint_url is not None:
            return f"{self._config.s3_endpoint_url}/{quote(bucket, safe='')}"
        region = self._region(location)
        # botocore data/s3/2006-03-01/endpoint-rule-set-1.json
        host = "s3-fips" if self._config.use_fips else "s3"
        if self._config.use_dualstack:
            host += ".dualstack"
        host += f".{region}.{partition_for(region).dns_suffix}"
        if _HOST_LABEL_BUCKET.fullmatch(bucket):
            return f"https://{bucket}.{host}"
        return f"https://{host}/{quote(bucket, safe='')}"

    def _host(self, location: S3Location) -> str:
        return urlsplit(self._bucket_url(location)).netloc

    async def _find_region(self, location: S3Location) -> str | None:
        """Asks S3 for a bucket's region: its redirect says it in a header that obstore hides."""
        url = urlsplit(self._bucket_url(location))
        transport = Transport(
            url.geturl(),
            max_connections=1,
            tls=self._tls,
            proxy=self._proxy or environment_proxy(url.geturl()),
        )
        target = f"{transport.target_prefix}{url.path or '/'}"
        head = f"HEAD {target} HTTP/1.1\r\nHost: {transport.host}\r\n\r\n".encode()
        try:
            exchange = await transport.acquire(deadline=None, connect=self._timeouts.connect)
            try:
                await exchange.send(head, b"", read=self._timeouts.read)
                return exchange.headers.get("x-amz-bucket-region")
            finally:
                exchange.close()
        except TransportError:
            return None
        finally:
            await transport.aclose()

    async def _open(self, location: S3Location, client: _Client) -> S3Store:
        """The store of obstore's for it; making one takes 30 ms, so a thread does it."""
        url = self._bucket_url(location) + quote(location.split()[0])
        key = url, self._region(location), client
        if (store := self._stores.get(key)) is None:
            async with self._opening:
                if (store := self._stores.get(key)) is None:
                    if len(self._stores) >= _MAX_STORES:
                        self._stores.clear()
                    make = asyncio.to_thread(self._make_store, location, *key)
                    store = self._stores[key] = await make
        return store

    def _make_store(self, location: S3Location, url: str, region: str, client: _Client) -> S3Store:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError:
            raise ConfigurationError(
                f"S3 is reached through obstore, which is not installed: {_INSTALL}"
            ) from None
        options = self._client_options(url, client)
        retries = 0 if client == "ask" else self._config.retries.max_attempts - 1
        try:
            return S3Store(
                location.bucket,
                config={
                    "region": region,
                    # The URL is the bucket's already, whichever style it has.
                    "aws_endpoint_url_s3": url,
                    "virtual_hosted_style_request": True,
                    "conditional_put": "etag",
                    "disable_tagging": False,
                    "request_payer": False,
                    "s3_express": False,
                    "skip_signature": False,
                    "unsigned_payload": False,
                },
                client_options=options,
                retry_config={
                    "max_retries": retries,
                    "retry_timeout": _EVER,
                    "backoff": _BACKOFF,
                },
                credential_provider=self._give_credentials,
            )
        except BaseError:
            # Its text may hold the proxy's password.
            raise ConfigurationError(
                f"obstore cannot use the settings for {location}: look at the CA bundle, the "
                "proxy and the AWS_ variables that begin with AWS_SSE_ and AWS_SERVER_SIDE_"
            ) from None

    def _client_options(self, url: str, client: _Client) -> ClientConfig:
        timeouts = self._timeouts
        options: ClientConfig = {
            "allow_http": url.startswith("http://"),
            "connect_timeout": _limit(timeouts.connect),
            "read_timeout": _limit(timeouts.read if client == "ask" else timeouts.idle),
            "timeout": _EVER,
            "pool_idle_timeout": _KEEPALIVE,
            "user_agent": self._user_agent,
        }
        if client == "upload":
            # The wait for a part's answer begins before the part has left.
            options["read_timeout"] = options["timeout"] = _PART_TIMEOUT
        if self._proxy is not None:
            options["proxy_url"] = self._proxy
        if self._tls is False:
            options["allow_invalid_certificates"] = True
        elif self._tls is not True and (trusted := authorities(self._tls)):
            options["root_certificate"] = trusted
        return options


def _limit(seconds: float | None) -> timedelta:
    return _EVER if seconds is None else timedelta(seconds=seconds)
