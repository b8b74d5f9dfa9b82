"""LocalEndpoint: SageMaker Runtime on this machine."""

from __future__ import annotations

import random
import re
import warnings
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from aiosmrt._aws.credentials import Credentials
from aiosmrt._aws.endpoints import check_endpoint_url, resolve_endpoint
from aiosmrt._protocol.operations import INVOKE_ENDPOINT, SYNC_BODY_LENGTH
from aiosmrt._values import is_finite
from aiosmrt.errors import ConfigurationError
from aiosmrt.local._async_inference import AsyncInference, AsyncInferences
from aiosmrt.local._container import Container
from aiosmrt.local._fault_orders import Faults
from aiosmrt.local._faults import Fault, Injection
from aiosmrt.local._hosting import Deployment, Hosting
from aiosmrt.local._invocations import Invocations
from aiosmrt.local._objects import LocalObjects, Objects, RemoteObjects
from aiosmrt.local._python_model import PythonModel
from aiosmrt.local._s3.requests import ObjectStoreApi
from aiosmrt.local._s3.store import Location, ObjectStore
from aiosmrt.local._server import Limits, LocalServer
from aiosmrt.local._signatures import SignatureCheck
from aiosmrt.local._sites import SiteCheck, is_loopback
from aiosmrt.local._threaded import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Self

    from aiosmrt._aws.credentials import CredentialsProvider
    from aiosmrt._client.session import Session
    from aiosmrt.local._models import Handler, ReceivedRequest

__all__ = ["LocalEndpoint"]

# Known to everyone, so worth nothing; it only has to be the same on both sides.
_CREDENTIALS = Credentials("aiosmrt-local-development", "not-a-secret-for-local-development-only")

# Source: "General purpose bucket naming rules" of the S3 User Guide.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_CONSTRAINTS = {binding.parameter: binding.constraint for binding in INVOKE_ENDPOINT.inputs}


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _checked(region: str, bucket: str) -> tuple[str, str]:
    """Both as they are, if they are what SDKs sign for and S3 takes."""
    resolve_endpoint(region)  # which refuses what is no region's name
    if not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(
            f"The output bucket {bucket!r} is not a bucket's name: 3 to 63 lower-case letters, "
            "digits, dots and hyphens"
        )
    return region, bucket


def _in_utc(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """A clock as HTTP and S3 tell the time."""
    return lambda: clock().astimezone(timezone.utc)


def _checked_seconds(idle_timeout: float) -> float:
    if not is_finite(idle_timeout) or idle_timeout <= 0:
        raise ConfigurationError(
            f"idle_timeout must be a finite number of seconds above 0, not {idle_timeout!r}"
        )
    return idle_timeout


class LocalEndpoint:
    """A server that speaks SageMaker Runtime's wire protocol in front of your own models.

        async with LocalEndpoint() as local:
            local.add_model("echo", handler)
            async with local.session() as session:
                await session.invoke_endpoint("echo", b"hello")

    A development server: one process, everything in memory, loopback unless told
    otherwise. Models can be added before it is started and while it runs. In code without
    an event loop, or that blocks its own, ``with LocalEndpoint() as local`` runs it in a
    thread, models included; its plain methods may then be called from any thread.

    Args:
        host: The address to listen on. Anything but loopback warns.
        port: The port; 0 takes a free one.
        region: The region that requests must be signed for.
        credentials: The key pair that requests must be signed with; None is a fixed one
            that everyone knows.
        allowed_hosts: Names by which requests may call it, besides addresses, ``localhost``
            and ``host``: ``["models.example"]``. Where it does not listen on loopback alone,
            names without a dot, as containers have, need not be listed. Requests by any other
            name are refused with status 421: a web page's own name may have been pointed
            here.
        verify: Whether signatures are checked. If not, what another site's web page sends is
            refused with status 403, by its headers ``Origin`` and ``Sec-Fetch-Site``.
        output_bucket: Where async inferences write their results.
        max_body_length: Bytes of a request's body; the service's own limit unless your
            account has another.
        max_bodies_length: Bytes of the bodies of all requests that are being answered; a
            caller who goes beyond is throttled.
        model_timeout: Seconds in which a model must answer, 60 in the service.
        stream_timeout: Seconds in which a streamed answer must be at its end, 8 minutes
            in the service.
        async_concurrency: How many async inferences run at once.
        async_queue_length: How many more may wait; beyond that the caller is throttled.
        async_failures: Whether failed async inferences write a failure object, and
            FailureLocation is announced.
        s3_endpoint_url: An S3 in the place of the local endpoint's own store for the
            inputs and results of async inferences. A client signs for both with one key:
            make it one that this S3 knows too.
        s3_credentials: What requests to it are signed with; None is the default chain.
        max_store_length: Bytes of all objects in the object store together, and as many more
            of those that are being put.
        shutdown_timeout: Seconds that async inferences have to finish when it is closed;
            those that are not done then fail, in writing.
        idle_timeout: Seconds in which a client must send a request's head, and in which it
            may send nothing of a body that is not whole. Then a body's request is answered
            with a timeout (408, from S3 400), and the connection is closed, as one without a
            request is; within half as many seconds more.
        max_received: How many requests ``received`` keeps.
        fault_header: Whether a request may order faults for itself, by a header
            ``x-aiosmrt-fault: error=ModelNotReadyException, times=2``, signed or not. It
            takes the keywords of ``inject`` but the two that choose requests; ``times``
            is how many attempts of one call are struck, as ``amz-sdk-request`` counts
            them, and ``above_rate`` is of all requests with the same header.
        seed: Makes the split of traffic and the chance of faults repeatable.
        clock: The time as it sees it, timezone-aware: for the age of signatures, Date
            headers and the expiry of sessions.

    Raises:
        ConfigurationError: ``region`` or ``output_bucket`` is no name of one, or a name of
            ``allowed_hosts`` is none, no async inference may run, ``idle_timeout`` is not
            above 0, ``s3_endpoint_url`` is no URL, or the extra is not installed.

    Attributes:
        host: The address it listens on.
        port: The port it listens on, once it is started.
        region: As given.
        credentials: What a client has to sign with.
        output_bucket: As given.
    """

    __module__ = "aiosmrt.local"

    host: str
    port: int
    region: str
    output_bucket: str
    _is_started = False
    # Not annotated: the hints of a public class are looked up where its users see it.
    _thread = cast("BackgroundThread | None", None)

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        region: str = "us-east-1",
        credentials: Credentials | None = None,
        allowed_hosts: Iterable[str] = (),
        verify: bool = True,
        output_bucket: str = "aiosmrt-local",
        max_body_length: int = SYNC_BODY_LENGTH,
        max_bodies_length: int = 1_073_741_824,
        model_timeout: float = 60.0,
        stream_timeout: float = 480.0,
        async_concurrency: int = 4,
        async_queue_length: int = 10_000,
        async_failures: bool = True,
        s3_endpoint_url: str | None = None,
        s3_credentials: Credentials | CredentialsProvider | None = None,
        max_store_length: int = 2_147_483_648,
        shutdown_timeout: float = 0.0,
        idle_timeout: float = 20.0,
        max_received: int = 10_000,
        fault_header: bool = False,
        seed: int | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.host, self.port = host, port
        self.region, self.output_bucket = _checked(region, output_bucket)
        self.credentials: Credentials = _CREDENTIALS if credentials is None else credentials
        self._s3_endpoint_url, self._shutdown_timeout = s3_endpoint_url, shutdown_timeout
        self._clock, self._store = _in_utc(clock), ObjectStore(max_store_length)
        self._signatures = SignatureCheck(region, self._clock, self.credentials)
        chance = random.Random(seed)  # noqa: S311 - for traffic and faults, not for secrets
        self._hosting = Hosting(self._clock, chance)
        self._faults = Faults(chance, obeys_header=fault_header)
        self._async_inferences = AsyncInferences(
            self._choose_objects(s3_credentials),
            self._clock,
            region=region,
            output_path=f"s3://{output_bucket}",
            writes_failures=async_failures,
            concurrency=async_concurrency,
            max_queued=async_queue_length,
        )
        invocations = Invocations(
            self._hosting,
            self._async_inferences,
            region=region,
            model_timeout=model_timeout,
            stream_timeout=stream_timeout,
        )
        limits = Limits(
            body_length=max_body_length,
            bodies_length=max_bodies_length,
            object_length=max_store_length,
            idle_seconds=_checked_seconds(idle_timeout),
            received=max_received,
        )
        self._server = self._make_server(invocations, limits, allowed_hosts, verify=verify)

    def _choose_objects(self, credentials: Credentials | CredentialsProvider | None) -> Objects:
        if self._s3_endpoint_url is None:
            return LocalObjects(self._store, self._clock)
        return RemoteObjects(self.region, self._s3_endpoint_url, credentials)

    def _make_server(
        self,
        invocations: Invocations,
        limits: Limits,
        allowed_hosts: Iterable[str],
        *,
        verify: bool,
    ) -> LocalServer:
        return LocalServer(
            invocations,
            ObjectStoreApi(self._store, self._clock),
            signatures=self._signatures if verify else None,
            sites=SiteCheck(self.host, allowed_hosts, takes_pages=verify),
            faults=self._faults,
            clock=self._clock,
            limits=limits,
        )

    @property
    def url(self) -> str:
        """The endpoint URL for any AWS SDK, of SageMaker Runtime and of S3 (path style).

        Raises:
            ConfigurationError: It is not started, so it has no port yet.
        """
        if not self._is_started:
            raise ConfigurationError(
                "The local endpoint has no URL before it is started: use async with, or start()"
            )
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def s3_url(self) -> str:
        """The endpoint URL of the S3 that has the inputs and results of async inferences.

        Raises:
            ConfigurationError: It is this endpoint's own store, which is not started.
        """
        return self._s3_endpoint_url or self.url

    @property
    def received(self) -> list[ReceivedRequest]:
        """The last requests that arrived so far, answered or refused, the newest last."""
        # A copy, which can be looked through while others arrive in the server's thread.
        return list(self._server.received)

    @property
    def async_inferences(self) -> list[AsyncInference]:
        """The async inferences: the last 10,000 finished ones, then those under way."""
        return self._async_inferences.listed()

    async def start(self) -> None:
        """Begins to listen; ``async with`` does it too.

        Raises:
            ConfigurationError: It was started before.
            OSError: The address cannot be listened on.
        """
        if self._is_started:
            raise ConfigurationError("A local endpoint is started once: make another one")
        self._is_started = True
        if not is_loopback(self.host):
            warnings.warn(
                f"the local endpoint listens on {self.host}: it is a development server, and "
                "others can reach it there",
                stacklevel=2,
            )
        self.port = await self._server.start(self.host, self.port)

    async def aclose(self) -> None:
        """Stops listening, breaks off what is being answered, ends async inferences.

        Streams end at once. Async inferences have ``shutdown_timeout`` seconds to
        finish; what is not done then fails, and its failure object says so.
        """
        await self._server.aclose()
        await self._async_inferences.aclose(self._shutdown_timeout)
        for backend in self._hosting.backends():
            await backend.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        self._thread = BackgroundThread(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.stop()

    def session(self, **keywords: Any) -> Session:
        """Makes a session that calls this endpoint.

        Args:
            **keywords: Further arguments of ``aiosmrt.Session``, which win.

        Returns:
            The session, not yet entered.
        """
        from aiosmrt._client.session import Session  # a client's code, which a server need not load

        ours: dict[str, Any] = {
            "endpoint_url": self.url,
            "s3_endpoint_url": self.s3_url,
            "region": self.region,
            "credentials": self.credentials,
        }
        return Session(**(ours | keywords))

    def add_credentials(self, credentials: Credentials) -> None:
        """Takes requests signed with these credentials too.

        Args:
            credentials: A session token must then be sent with them; past their expiry
                requests are refused as expired.
        """
        self._signatures.accept(credentials)

    def add_model(
        self,
        endpoint_name: str,
        handler: Handler,
        *,
        variant: str | None = None,
        weight: float = 1.0,
        container_hostname: str | None = None,
        inference_component: str | None = None,
        target_model: str | None = None,
    ) -> None:
        """Puts a Python model behind an endpoint, in the place of one of the same names.

        An endpoint can have several, told apart by the keywords; a call must then name
        what the service wants named, and gets the service's ValidationError where it
        names what is not there. What no model of the endpoint was given a name of is
        not checked: the model sees what the call named.

        Args:
            endpoint_name: The endpoint's name.
            handler: ``async def handler(request: ModelRequest)`` that returns bytes,
                str, dict, list or a ModelResponse; or an async generator function of
                bytes or str, each a PayloadPart.
            variant: Its production variant; None is ``AllTraffic``.
            weight: Its share of the calls that name no variant.
            container_hostname: What TargetContainerHostname chooses it by.
            inference_component: What InferenceComponentName chooses it by.
            target_model: What TargetModel chooses it by.

        Raises:
            TypeError: The handler is of neither kind.
            ParameterValidationError: A name is not one that the service takes.
        """
        self._deploy(
            endpoint_name,
            Deployment(
                backend=PythonModel(handler),
                variant=variant,
                weight=weight,
                container_hostname=container_hostname,
                inference_component=inference_component,
                model=target_model,
            ),
        )

    def add_container(
        self,
        endpoint_name: str,
        url: str,
        *,
        variant: str | None = None,
        weight: float = 1.0,
        container_hostname: str | None = None,
        inference_component: str | None = None,
        target_model: str | None = None,
        multi_model: bool = False,
    ) -> None:
        """Puts a model container behind an endpoint, by SageMaker's hosting contract.

        It gets no traffic before its ``GET /ping`` has answered 200; until then callers
        get ModelNotReadyException, and async inferences wait. Then it gets ``POST
        /invocations``. Each chunk that it sends of a streamed answer becomes a
        PayloadPart as it arrives. When a client leaves, the connection to the
        container is closed.

        Args:
            endpoint_name: The endpoint's name.
            url: The container's base URL: ``http://127.0.0.1:8080``.
            variant: As of ``add_model``, as all that follow.
            weight: As of ``add_model``.
            container_hostname: As of ``add_model``.
            inference_component: As of ``add_model``.
            target_model: As of ``add_model``.
            multi_model: Whether it is a multi-model container: a call must then name a
                TargetModel, which is loaded by ``POST /models`` before its first use;
                until it is, callers get ModelNotReadyException.

        Raises:
            ConfigurationError: The URL is not ``http://`` or ``https://`` with a host, or has
                a user name, a password, a query or a fragment.
            ParameterValidationError: A name is not one that the service takes.
        """
        checked_url = check_endpoint_url(url, "container's URL")
        self._deploy(
            endpoint_name,
            Deployment(
                backend=Container(checked_url, multi_model=multi_model),
                variant=variant,
                weight=weight,
                container_hostname=container_hostname,
                inference_component=inference_component,
                model=target_model,
            ),
        )

    def inject(
        self,
        *,
        endpoint_name: str | None = None,
        operation: str | None = None,
        probability: float = 1.0,
        times: int | None = None,
        above_rate: float | None = None,
        latency: float = 0.0,
        error: str | None = None,
        status_code: int | None = None,
        stale_close: bool = False,
        cut_at: int | None = None,
        corrupt_frame: int | None = None,
        drip: float | None = None,
    ) -> Injection:
        """Brings faults, until they are removed; several act together.

            local.inject(error="ModelNotReadyException", times=3)    # a cold model
            local.inject(error="ThrottlingException", above_rate=50) # a capacity
            local.inject(operation="InvokeEndpointWithResponseStream", cut_at=1000)

        Args:
            endpoint_name: Strikes calls of this endpoint only.
            operation: Strikes this operation only, of the service or of S3 (``GetObject``).
            probability: Of requests that it may strike, the share that it does.
            times: How many requests it strikes in all; None for any number.
            above_rate: Strikes only what exceeds so many requests a second.
            latency: Seconds before anything else happens.
            error: The code of an error that is answered in the model's place.
            status_code: The error's HTTP status; None is the service's own. Without an
                error the answer is the status and nothing else, as a proxy's.
            stale_close: Closes the connection behind the answer, which did not say so.
            cut_at: Closes the connection when so many bytes of the body are sent.
            corrupt_frame: Damages this message of an event stream, from 0.
            drip: Sends the body with so many bytes a second.

        Returns:
            The injection: ``count`` tells how many requests it struck, ``remove()`` ends it.

        Raises:
            ConfigurationError: A number is out of its range, there is no such operation,
                or an error without a status of the service's own has none.
        """
        fault = Fault(
            latency=latency,
            error=error,
            status_code=status_code,
            stale_close=stale_close,
            cut_at=cut_at,
            corrupt_frame=corrupt_frame,
            drip=drip,
        )
        injection = Injection(
            fault,
            endpoint_name=endpoint_name,
            operation=operation,
            probability=probability,
            times=times,
            above_rate=above_rate,
        )
        self._faults.add(injection)
        return injection

    def put_object(
        self, uri: str, body: bytes | bytearray | memoryview | str, content_type: str | None = None
    ) -> None:
        """Writes an object into the object store, over an older one; buckets need no creation.

        Args:
            uri: ``s3://BUCKET/KEY``.
            body: Its bytes; str is stored as UTF-8.
            content_type: Its MIME type; None is S3's ``binary/octet-stream``.

        Raises:
            ValueError: The URI names no object.
            StoreFullError: The store has no room for it.
        """
        data = body.encode() if isinstance(body, str) else bytes(body)
        self._store.put(Location.parse(uri), data, now=self._clock(), content_type=content_type)

    def get_object(self, uri: str) -> bytes:
        """Reads an object of the object store.

        Args:
            uri: ``s3://BUCKET/KEY``.

        Returns:
            Its bytes.

        Raises:
            KeyError: There is none.
            ValueError: The URI names no object.
        """
        return self._store.get(Location.parse(uri)).body

    def _deploy(self, endpoint_name: str, deployment: Deployment) -> None:
        INVOKE_ENDPOINT.resource.constraint.check("endpoint_name", endpoint_name)
        for parameter, value in (
            ("target_variant", deployment.variant),
            ("target_container_hostname", deployment.container_hostname),
            ("inference_component_name", deployment.inference_component),
            ("target_model", deployment.model),
        ):
            if value is not None:
                _CONSTRAINTS[parameter].check(parameter, value)
        if not is_finite(deployment.weight) or deployment.weight < 0:
            raise ConfigurationError("a variant's weight must be a finite number, 0 or above")
        self._hosting.deploy(endpoint_name, deployment)
