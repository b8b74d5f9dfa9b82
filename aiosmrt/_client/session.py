"""The session: what users hold. It keeps the connections, the signer and the credentials.

What only some use (streams, batches, async inference, instrumentation) is imported by the
methods that use it: a process that makes one call and ends need not load it.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from aiosmrt import __version__
from aiosmrt._aws.chain import choose_provider
from aiosmrt._aws.config import resolve_config
from aiosmrt._aws.retries import RetryPolicy
from aiosmrt._aws.user_agent import build_user_agent
from aiosmrt._client.body import choose_body
from aiosmrt._client.call import Channel
from aiosmrt._client.client import Client, check_count, check_type
from aiosmrt._protocol.deserialize import parse_invoke_endpoint, parse_invoke_endpoint_async
from aiosmrt._protocol.models import InvokeEndpointOutput, Timeouts
from aiosmrt._protocol.operations import INVOKE_ENDPOINT, INVOKE_ENDPOINT_ASYNC
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM as INVOKE_STREAM
from aiosmrt._protocol.serialize import serialize
from aiosmrt._threads import Late, Threads
from aiosmrt._transport import Transport, beside_the_service, choose_tls, environment_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping
    from datetime import datetime
    from ssl import SSLContext

    import aiohttp
    from typing_extensions import Self, Unpack

    from aiosmrt._aws.config import Config
    from aiosmrt._aws.credentials import Credentials, CredentialsProvider, SessionProvider
    from aiosmrt._aws.signer import SigV4Signer
    from aiosmrt._client.async_inference import AsyncInvocation
    from aiosmrt._client.many import BatchItems, CollectedStream, InvokeRequest, StreamRequest
    from aiosmrt._client.streaming import ResponseStream, ResponseStreamCall
    from aiosmrt._protocol.models import Body, PayloadPart
    from aiosmrt._protocol.parameters import InvokeParameters, StreamParameters
    from aiosmrt._protocol.request_head import HeadWriter
    from aiosmrt._s3.channel import S3Channel
    from aiosmrt._s3.result_poller import ResultPoller
    from aiosmrt._transport import Verification
    from aiosmrt.instrumentation._hooks import MakeHooks
    from aiosmrt.instrumentation._watch import CallWatcher

__all__ = ["Session"]


class Session:
    """A client of SageMaker Runtime: one for an application's life, for any number of tasks.

        async with aiosmrt.Session(region="eu-west-1") as session:
            output = await session.invoke_endpoint("my-endpoint", b"...")

    Settings that are not given come from the environment and the profile, as botocore
    finds them. A session belongs to the event loop that it is first used on.

    Args:
        region: The AWS region; else ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile.
        endpoint_url: The service's URL; else ``AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME``,
            ``AWS_ENDPOINT_URL``, the profile, the region's host.
        credentials: Fixed ``Credentials``, an object with ``async get_credentials()``, or
            what boto3's and aiobotocore's ``get_credentials()`` return; None is the
            default chain.
        s3_endpoint_url: The URL of S3, for async inputs and results.
        profile: The profile; else ``AWS_DEFAULT_PROFILE``, ``AWS_PROFILE``.
        use_fips: Whether to use FIPS hosts.
        use_dualstack: Whether to use dual-stack hosts.
        max_connections: Requests at once, and connections kept; an open stream is one.
        timeouts: Time limits, in seconds.
        retries: What is tried again; else ``AWS_MAX_ATTEMPTS``, ``AWS_RETRY_MODE``, the
            profile, three attempts.
        max_body_length: The most bytes a request's or response's body may have; None
            for no limit of one's own.
        connector: An ``aiohttp.TCPConnector`` to share for the service's calls; it is never
            closed here.
        ssl: As aiohttp takes it: an ``SSLContext``, a ``Fingerprint``, or None to verify
            by the system's certificates (or ``AWS_CA_BUNDLE``). S3 is verified the same way,
            and shown the certificate that a context presents; but a fingerprint is that of
            the service, and S3's only where both have one address.
        proxy: The URL of an HTTP proxy, for S3 too.
        user_agent_extra: Appended to the User-Agent.
        instrumentation: What follows the calls (see `aiosmrt.instrumentation`): one, or
            several.

    Raises:
        ConfigurationError: A setting is missing, malformed or contradicts another.
    """

    __module__ = "aiosmrt"

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        credentials: Credentials | CredentialsProvider | Any | None = None,
        s3_endpoint_url: str | None = None,
        profile: str | None = None,
        use_fips: bool | None = None,
        use_dualstack: bool | None = None,
        max_connections: int = 100,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        max_body_length: int | None = None,
        connector: aiohttp.TCPConnector | None = None,
        ssl: SSLContext | aiohttp.Fingerprint | bool | None = None,
        proxy: str | None = None,
        user_agent_extra: str | None = None,
        instrumentation: MakeHooks | Iterable[MakeHooks] | None = None,
    ) -> None:
        check_count("max_connections", max_connections)
        self._max_connections = max_connections
        if max_body_length is not None:
            check_count("max_body_length", max_body_length)
        timeouts = Timeouts() if timeouts is None else timeouts
        check_type("timeouts", timeouts, Timeouts)
        check_type("retries", retries, RetryPolicy, type(None))
        check_type("proxy", proxy, str, type(None))
        check_type("user_agent_extra", user_agent_extra, str, type(None))
        self._config = config = resolve_config(
            region=region,
            endpoint_url=endpoint_url,
            s3_endpoint_url=s3_endpoint_url,
            profile=profile,
            use_fips=use_fips,
            use_dualstack=use_dualstack,
            retries=retries,
        )
        self._provider = choose_provider(credentials, config)
        tls = choose_tls(ssl, config.ca_bundle)
        self._threads = Threads()
        self._transport = Transport(
            config.endpoint_url,
            max_connections=max_connections,
            connector=connector,
            tls=tls,
            proxy=proxy or environment_proxy(config.endpoint_url),
            threads=self._threads,
        )
        self._user_agent = _name_client(config, user_agent_extra)
        heads = _late_heads(self._transport, config.region, self._user_agent, self._threads)
        self._lifetime = self._transport.lifetime
        self._client = Client(
            channel=Channel(self._transport, heads, self._provider, self._lifetime, self._threads),
            timeouts=timeouts,
            retries=config.retries,
            max_body_length=max_body_length,
            watcher=_make_watcher(instrumentation, config),
        )
        self._open_s3 = partial(_open_s3, heads=heads, timeouts=timeouts, proxy=proxy, tls=tls)

    def __repr__(self) -> str:
        if "_client" not in vars(self):  # a log of the traceback's locals, as a setting is refused
            return "<Session that could not be made>"
        state = "closed" if self._lifetime.is_closed else f"open, {self._transport}"
        return f"<Session of {self._config.endpoint_url}, {self._config.region}, {state}>"

    @cached_property
    def _poller(self) -> ResultPoller:
        from aiosmrt._s3.object_store import ObjectStore
        from aiosmrt._s3.result_poller import ResultPoller

        channel = self._open_s3(
            self._config, self._provider, user_agent=self._user_agent, threads=self._threads
        )
        return ResultPoller(ObjectStore(channel), self._lifetime.wait_for, self._threads)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return self._config.region

    @property
    def endpoint_url(self) -> str:
        """The service's URL."""
        return self._config.endpoint_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the session's connections; calls under way end with a TransportError. Idempotent.

        A connector that was given stays open, but for the connections in use here.
        """
        poller = self._poller if "_poller" in vars(self) else None
        # All of it ends here, in one turn of the loop: a cancellation finds the session closed.
        self._provider.close()
        self._threads.close()
        self._transport.close()
        if poller is not None:
            poller.close()
        # The rest is to wait for what has been ended.
        if poller is not None:
            await poller.aclose()
        await self._transport.aclose()
        await self._provider.aclose()

    async def invoke_endpoint(
        self,
        endpoint_name: str,
        body: Body | None = None,
        *,
        json: Any = None,
        content_type: str | None = None,
        accept: str | None = None,
        custom_attributes: str | None = None,
        target_model: str | None = None,
        target_variant: str | None = None,
        target_container_hostname: str | None = None,
        inference_id: str | None = None,
        enable_explanations: str | None = None,
        inference_component_name: str | None = None,
        session_id: str | None = None,
        prefix_aware_id: str | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
    ) -> InvokeEndpointOutput:
        """Invokes an endpoint and waits for the whole answer (InvokeEndpoint).

        Args:
            endpoint_name: The endpoint, at most 63 letters, digits and hyphens.
            body: The data, at most 6 MiB (more where AWS has granted it); str is sent
                as UTF-8. A mutable buffer must stay as it is until the call returns.
            json: In the body's place: an object to send as JSON; None is none given
                (``null`` is ``body=b"null"``). A large one is encoded in several turns
                of the event loop, and must stay as it is until the call returns.
            content_type: The body's MIME type; ``application/json`` with ``json``.
            accept: The MIME type wanted of the answer.
            custom_attributes: Passed to the container, at most 1024 visible ASCII.
            target_model: The model of a multi-model endpoint.
            target_variant: The production variant.
            target_container_hostname: The container of a multi-container endpoint.
            inference_id: An id of your own for this inference, 1 to 64 characters.
            enable_explanations: A JMESPath expression for Clarify.
            inference_component_name: The inference component.
            session_id: A stateful session, ``NEW_SESSION`` to open one.
            prefix_aware_id: Routes requests of a common prefix together.
            timeouts: This call's time limits in place of the session's.
            retries: This call's retry policy in place of the session's.

        Returns:
            The answer: ``body``, ``text()``, ``json()``, ``metadata`` and more.

        Raises:
            ParameterValidationError: A parameter breaks its constraint; nothing was sent.
            CredentialsError: No credentials could be had.
            ServiceError: The service, or the model, answered with an error.
            TransportError: The answer was not received, or not in time.
            StreamTruncatedError: The answer ended before its announced length.
        """
        parameters: Mapping[str, Any] = {
            "endpoint_name": endpoint_name,
            "content_type": content_type,
            "accept": accept,
            "custom_attributes": custom_attributes,
            "target_model": target_model,
            "target_variant": target_variant,
            "target_container_hostname": target_container_hostname,
            "inference_id": inference_id,
            "enable_explanations": enable_explanations,
            "inference_component_name": inference_component_name,
            "session_id": session_id,
            "prefix_aware_id": prefix_aware_id,
        }
        if json is not None or body is None:
            body, parameters = await choose_body(INVOKE_ENDPOINT, body, json, parameters)
        request = serialize(INVOKE_ENDPOINT, body, parameters)
        return await self._client.invoke(request, parse_invoke_endpoint, timeouts, retries)

    def invoke_endpoint_with_response_stream(
        self,
        endpoint_name: str,
        body: Body | None = None,
        *,
        json: Any = None,
        content_type: str | None = None,
        accept: str | None = None,
        custom_attributes: str | None = None,
        target_variant: str | None = None,
        target_container_hostname: str | None = None,
        inference_id: str | None = None,
        inference_component_name: str | None = None,
        session_id: str | None = None,
        prefix_aware_id: str | None = None,
        require_terminal: Callable[[PayloadPart], bool] | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
    ) -> ResponseStreamCall:
        """Invokes an endpoint and hands out its answer as it comes.

            async with session.invoke_endpoint_with_response_stream("llm", json=...) as stream:
                async for part in stream: ...

        It can be awaited too; then the stream is to be closed with ``aclose()``.
        Retries end when the response's head has arrived: a stream is never repeated.

        Args: As for ``invoke_endpoint``, but that ``timeouts.total`` ends with the head, and
            require_terminal: Called with the last part when the stream ends; whether it
                is the one that a complete answer ends with (``[DONE]``, say). Nothing
                else tells an answer that its container gave up between two parts, or
                the close there of a response without length and chunks; False raises
                StreamTruncatedError.

        Returns:
            What gives a ResponseStream: await it, or enter it with ``async with``.

        Raises:
            AiosmrtError: When awaited or entered, as ``invoke_endpoint``.
        """
        from aiosmrt._client.streaming import ResponseStreamCall

        parameters: Mapping[str, Any] = {
            "endpoint_name": endpoint_name,
            "content_type": content_type,
            "accept": accept,
            "custom_attributes": custom_attributes,
            "target_variant": target_variant,
            "target_container_hostname": target_container_hostname,
            "inference_id": inference_id,
            "inference_component_name": inference_component_name,
            "session_id": session_id,
            "prefix_aware_id": prefix_aware_id,
        }

        async def open_stream() -> ResponseStream:
            data, given = body, parameters
            if json is not None or body is None:
                data, given = await choose_body(INVOKE_STREAM, body, json, parameters)
            request = serialize(INVOKE_STREAM, data, given)
            return await self._client.open_stream(
                request, timeouts, retries, require_terminal=require_terminal
            )

        return ResponseStreamCall(open_stream())

    def invoke_many(
        self,
        endpoint_name: str,
        requests: Iterable[InvokeRequest] | AsyncIterable[InvokeRequest],
        *,
        concurrency: int | Literal["auto"] = 64,
        max_concurrency: int | None = None,
        rate: float | None = None,
        ordered: bool = False,
        on_error: Literal["return", "raise"] = "return",
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        **parameters: Unpack[InvokeParameters],
    ) -> BatchItems[InvokeEndpointOutput]:
        """Invokes an endpoint for each of many requests, several at once.

            async with session.invoke_many("my-endpoint", bodies) as items:
                async for item in items:
                    print(item.key, item.output or item.error)

        Args:
            endpoint_name: The endpoint of every bare body.
            requests: Any iterable or async iterable of bodies, of InvokeEndpointInput (which
                names its own endpoint and parameters), or of ``(key, either)``. It is read
                lazily, never more than ``concurrency`` ahead of the items handed out.
            concurrency: How many requests are under way at once. ``auto`` begins with 4,
                raises the number while answers come as fast as before, and lowers it when
                the endpoint throttles, fails or slows down. More than ``max_connections``
                wait for a connection.
            max_concurrency: The most that ``auto`` goes to; None is ``max_connections``.
            rate: The most requests a second, retries counted in; None is no limit.
            ordered: Whether items come in the order of the requests; a slow one then
                holds up those behind it.
            on_error: ``return`` hands an error out in its item; ``raise`` cancels what is
                under way and raises the first.
            timeouts: Each call's time limits in place of the session's.
            retries: Each call's retry policy in place of the session's.
            **parameters: The parameters of every bare body, as for ``invoke_endpoint``:
                ``content_type``, ``accept``, ``custom_attributes``, ``target_model``,
                ``target_variant``, ``target_container_hostname``, ``inference_id``,
                ``enable_explanations``, ``inference_component_name``, ``session_id`` and
                ``prefix_aware_id``.

        Returns:
            An async iterator of BatchItem: ``key``, ``index``, ``output``, ``error``,
            ``attempts``, ``latency``. If you may leave the loop before its end, use
            ``async with``.

        Raises:
            ParameterValidationError: A keyword breaks its constraint, or ``requests`` is
                one body. What is wrong with one request is the error of its item.
            TypeError: InvokeEndpoint has no such parameter.
            ConfigurationError: ``concurrency``, ``rate`` or ``on_error`` is out of range.
        """
        from aiosmrt._client.many import BatchItems, InvokeCall, ManyOptions

        options = ManyOptions(
            concurrency=concurrency,
            max_concurrency=self._max_connections if max_concurrency is None else max_concurrency,
            rate=rate,
            ordered=ordered,
            on_error=on_error,
        )
        given = {"endpoint_name": endpoint_name, **parameters}
        call = InvokeCall(self._client, given, timeouts, retries)
        return BatchItems(call, requests, options)

    def stream_many(
        self,
        endpoint_name: str,
        requests: Iterable[StreamRequest] | AsyncIterable[StreamRequest],
        *,
        concurrency: int | Literal["auto"] = 64,
        max_concurrency: int | None = None,
        rate: float | None = None,
        ordered: bool = False,
        on_error: Literal["return", "raise"] = "return",
        require_terminal: Callable[[PayloadPart], bool] | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        **parameters: Unpack[StreamParameters],
    ) -> BatchItems[CollectedStream]:
        """Reads the streamed answers to many requests, several at once, each to its end.

        Args: As for ``invoke_many`` and ``invoke_endpoint_with_response_stream``; the inputs
            are InvokeEndpointWithResponseStreamInput. ``target_model`` and
            ``enable_explanations`` are not parameters of a stream.

        Returns:
            An async iterator of BatchItem, whose ``output`` is a CollectedStream: ``parts``,
            ``body``, ``text()``, ``json()``. A stream that broke off is an error.

        Raises:
            AiosmrtError: As ``invoke_many``.
        """
        from aiosmrt._client.many import BatchItems, ManyOptions, StreamCall

        options = ManyOptions(
            concurrency=concurrency,
            max_concurrency=self._max_connections if max_concurrency is None else max_concurrency,
            rate=rate,
            ordered=ordered,
            on_error=on_error,
        )
        given = {"endpoint_name": endpoint_name, **parameters}
        call = StreamCall(self._client, given, timeouts, retries, require_terminal)
        return BatchItems(call, requests, options)

    async def invoke_endpoint_async(
        self,
        endpoint_name: str,
        input_location: str | None = None,
        *,
        body: Body | os.PathLike[str] | None = None,
        json: Any = None,
        input: Literal["auto"] | None = None,  # noqa: A002 - the word users look for
        content_type: str | None = None,
        accept: str | None = None,
        custom_attributes: str | None = None,
        inference_id: str | None = None,
        s3_output_path_extension: str | None = None,
        filename: str | None = None,
        request_ttl_seconds: int | None = None,
        invocation_timeout_seconds: int | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
    ) -> AsyncInvocation:
        """Queues an inference whose output goes to S3 (InvokeEndpointAsync).

        Exactly one of ``input_location`` and ``body`` (or ``json``) is to be given, but with
        ``input="auto"``.

        Args:
            endpoint_name: The endpoint, at most 63 letters, digits and hyphens.
            input_location: The input's S3 URI, ``s3://bucket/key``.
            body: The input itself, at most 128,000 bytes.
            json: In the body's place: an object to send as JSON.
            input: ``auto`` takes a ``body`` of any length, or a file's path: what is longer
                than 128,000 bytes is put into S3 first, at ``input_location`` (see
                ``upload_input``). ``timeouts`` do not count that.
            content_type: The input's MIME type; ``application/json`` with ``json``.
            accept: The MIME type wanted of the output.
            custom_attributes: Passed to the container.
            inference_id: An id of your own; the service makes one where it is missing.
            s3_output_path_extension: Appended to the endpoint's output path. The segments ``.``
                and ``..`` are refused: nobody could read the output.
            filename: The output object's name, 1 to 32 characters.
            request_ttl_seconds: How long it may wait in the queue, 60 to 21600.
            invocation_timeout_seconds: How long the model may take, 1 to 3600.
            timeouts: This call's time limits in place of the session's.
            retries: This call's retry policy in place of the session's.

        Returns:
            The handle: ``inference_id``, ``output_location``, ``failure_location``,
            ``accepted_at``.

        Raises:
            AiosmrtError: As ``invoke_endpoint``.
        """
        from aiosmrt._client.async_inference import AsyncInvocation, choose_input

        parameters: Mapping[str, Any] = {
            "endpoint_name": endpoint_name,
            "input_location": input_location,
            "content_type": content_type,
            "accept": accept,
            "custom_attributes": custom_attributes,
            "inference_id": inference_id,
            "s3_output_path_extension": s3_output_path_extension,
            "filename": filename,
            "request_ttl_seconds": request_ttl_seconds,
            "invocation_timeout_seconds": invocation_timeout_seconds,
        }
        data, parameters = await choose_body(INVOKE_ENDPOINT_ASYNC, body, json, parameters)
        if input is not None or isinstance(body, os.PathLike):
            choice = choose_input(self._poller.store, self._threads, input, data, parameters)
            data, parameters = await self._lifetime.wait_for(choice, None)
        request = serialize(INVOKE_ENDPOINT_ASYNC, data, parameters)
        output = await self._client.invoke(request, parse_invoke_endpoint_async, timeouts, retries)
        return AsyncInvocation(
            inference_id=output.inference_id,
            output_location=output.output_location,
            failure_location=output.failure_location,
            accepted_at=output.accepted_at,
            metadata=output.metadata,
            poller=self._poller,
            endpoint_name=endpoint_name,
        )

    async def upload_input(
        self,
        body: Body | os.PathLike[str],
        location: str,
        *,
        content_type: str | None = None,
    ) -> str:
        """Puts an input into S3, for the ``input_location`` of ``invoke_endpoint_async``.

        A file is read as it is sent. Nobody sees the object before it is whole; when the
        upload fails or is cancelled, there is none.

        Args:
            body: The input; str is text for UTF-8. Or a ``pathlib.Path``, of a file.
            location: ``s3://bucket/prefix/`` for a new name below it, or the whole URI.
            content_type: The object's MIME type.

        Returns:
            The object's URI.

        Raises:
            ParameterValidationError: The location is not an S3 URI, the body has no bytes, or
                the MIME type cannot stand in a header.
            ServiceError: S3 refused.
            TransportError: S3 did not answer.
            CredentialsError: There are no credentials.
            OSError: The file cannot be read, is not a regular one, or changed meanwhile.
        """
        from aiosmrt._client.async_inference import upload_input

        upload = upload_input(self._poller.store, body, location, content_type)
        return await self._lifetime.wait_for(upload, None)

    def async_invocation(
        self,
        *,
        output_location: str,
        failure_location: str | None = None,
        inference_id: str | None = None,
        accepted_at: datetime | str | None = None,
    ) -> AsyncInvocation:
        """The handle of an async inference from its saved facts.

            facts = invocation.to_dict()
            again = session.async_invocation(**facts)

        A handle made from locations alone takes whatever lies there for the result, also the
        output or the failure of an earlier inference that had the same ``filename`` or
        ``s3_output_path_extension``. With ``accepted_at`` it does not.

        Args:
            output_location: The S3 URI at which the output will lie.
            failure_location: The S3 URI at which a failure object would lie; None where the
                endpoint writes none.
            inference_id: The inference's id, for error texts.
            accepted_at: When the service accepted the inference, by the service's clock: a
                datetime with a time zone, or its text in the form of ISO 8601. An object last
                modified in an earlier second is taken as not there.

        Returns:
            The handle; nothing is sent.

        Raises:
            ParameterValidationError: ``accepted_at`` is not a time, or has no time zone.
        """
        from aiosmrt._client.async_inference import AsyncInvocation, parse_time

        return AsyncInvocation(
            inference_id=inference_id,
            output_location=output_location,
            failure_location=failure_location,
            accepted_at=parse_time("accepted_at", accepted_at),
            metadata=None,
            poller=self._poller,
        )


def _name_client(config: Config, extra: str | None) -> str:
    return build_user_agent(__version__, app_id=config.user_agent_app_id, extra=extra)


def _late_heads(
    transport: Transport, region: str, user_agent: str, threads: Threads
) -> Late[HeadWriter]:
    """The writer of heads, imported while the first connection is made.

    Its signer brings `requests`, whose import takes longer than that of all of our own modules.
    """

    def make() -> HeadWriter:
        from aiosmrt._aws.signer import SigV4Signer
        from aiosmrt._protocol.request_head import HeadWriter

        return HeadWriter(
            SigV4Signer(None, None, transport.host, region, "sagemaker"),
            host=transport.host,
            path_prefix=transport.path_prefix,
            target_prefix=transport.target_prefix,
            unsigned=[("User-Agent", user_agent), *transport.proxy_headers],
        )

    return Late(threads, make)


def _open_s3(
    config: Config,
    provider: SessionProvider,
    *,
    heads: Late[HeadWriter],
    timeouts: Timeouts,
    proxy: str | None,
    tls: Verification,
    user_agent: str,
    threads: Threads,
) -> S3Channel:
    from aiosmrt._s3.channel import S3Channel

    async def get_signer() -> SigV4Signer:
        return (await heads.get()).signer

    service, s3 = urlsplit(config.endpoint_url), urlsplit(config.s3_endpoint_url or "")
    if service[:2] != s3[:2]:  # scheme, host and port
        tls = beside_the_service(tls, config.ca_bundle)
    return S3Channel(
        config,
        provider,
        get_signer=get_signer,
        timeouts=timeouts,
        proxy=proxy,
        tls=tls,
        user_agent=user_agent,
        threads=threads,
    )


def _make_watcher(
    instrumentation: MakeHooks | Iterable[MakeHooks] | None, config: Config
) -> CallWatcher | None:
    if instrumentation is None:
        return None
    from aiosmrt.instrumentation._watch import CallWatcher

    return CallWatcher(instrumentation, region=config.region, endpoint_url=config.endpoint_url)
