"""``aiosmrt local``: the service's protocol in front of containers on this machine."""

from __future__ import annotations

import contextlib
import shlex
import signal
from typing import TYPE_CHECKING, Any

import attrs
import click

from aiosmrt._cli.open_files import allow_open_files
from aiosmrt._cli.terminal import run_async, say
from aiosmrt.errors import ConfigurationError, ParameterValidationError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiosmrt.local import LocalEndpoint

__all__ = ["local"]

# How long async inferences have to finish once it is told to stop. `docker stop` waits for 10
# seconds, in which those that are not done then have to fail in writing.
_SHUTDOWN_SECONDS = 7.0


# What can follow a container's URL, as add_container takes it.
_CONTAINER_OPTIONS: dict[str, Callable[[str], Any]] = {
    "variant": str,
    "weight": float,
    "container-hostname": str,
    "inference-component": str,
    "target-model": str,
    "multi-model": {"": True}.__getitem__,
}


@attrs.frozen(kw_only=True)
class _Container:
    """A container as the command line gives it."""

    endpoint_name: str
    url: str
    options: dict[str, str]

    def __str__(self) -> str:
        options = [f", {name} {value}".rstrip() for name, value in self.options.items()]
        return f"{self.endpoint_name}: {self.url}{''.join(options)}"

    @property
    def names(self) -> tuple[str, frozenset[tuple[str, str]]]:
        """What a call can tell it from others by."""
        named = {n: v for n, v in self.options.items() if n not in ("weight", "multi-model")}
        return self.endpoint_name, frozenset(named.items())

    def add_to(self, endpoint: LocalEndpoint) -> None:
        """Puts it behind its endpoint.

        Raises:
            click.BadParameter: A name, the URL or the weight is none.
        """
        keywords: dict[str, Any] = {}
        for name, value in self.options.items():
            keywords[name.replace("-", "_")] = _CONTAINER_OPTIONS[name](value)
        try:
            endpoint.add_container(self.endpoint_name, self.url, **keywords)
        except (ConfigurationError, ParameterValidationError) as error:
            raise click.BadParameter(error.message, param_hint="--container") from None


def _container(value: str) -> _Container:
    """A container's type for click."""
    name, separator, rest = value.partition("=")
    url, *items = rest.split(",")
    if not (name and separator and url):
        raise click.BadParameter("it must be NAME=URL, as in digits=http://127.0.0.1:8080")
    options: dict[str, str] = {}
    for item in items:
        option, _, text = item.partition("=")
        try:
            _CONTAINER_OPTIONS[option](text)
        except (KeyError, ValueError):
            known = ", ".join(_CONTAINER_OPTIONS)
            raise click.BadParameter(f"{item!r} is none of the options {known}") from None
        options[option] = text
    return _Container(endpoint_name=name, url=url, options=options)


@click.command(short_help="Serve SageMaker Runtime's protocol on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="The port; 0 takes a free one.",
)
@click.option(
    "--container",
    "containers",
    metavar="NAME=URL[,OPTION=VALUE]...",
    type=_container,
    multiple=True,
    help="An endpoint's name and the URL of its model container, which answers GET /ping and "
    "POST /invocations. Can be repeated, for one endpoint too: the options variant, weight, "
    "container-hostname, inference-component and target-model tell its containers apart; "
    "multi-model, without a value, is for one that loads models when they are called for.",
)
@click.option("--region", default="us-east-1", show_default=True, help="The region it stands for.")
@click.option("--access-key-id", metavar="ID", help="What requests must be signed with.")
@click.option("--secret-access-key", metavar="KEY", help="The key of that id.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    metavar="NAME",
    multiple=True,
    help="A name by which requests may call it, besides addresses and localhost: requests by "
    "others are refused, for a web page's name may have been pointed here. Can be repeated. "
    "Listening on 0.0.0.0, it takes names without a dot, as containers have, anyhow.",
)
@click.option("--no-verify", is_flag=True, help="Take requests whatever their signature.")
@click.option(
    "--output-bucket",
    metavar="NAME",
    default="aiosmrt-local",
    show_default=True,
    help="Where async inferences write their results.",
)
@click.option(
    "--s3-endpoint-url",
    metavar="URL",
    help="An S3 in the place of the object store here, for the inputs and results of async "
    "inferences. Its requests are signed with --access-key-id, or as the AWS CLI would.",
)
@click.option(
    "--faults",
    is_flag=True,
    help="Obey the request header X-Aiosmrt-Fault, which orders a fault for its request: "
    "error=ModelNotReadyException, times=2.",
)
def local(
    *,
    host: str,
    port: int,
    containers: tuple[_Container, ...],
    region: str,
    access_key_id: str | None,
    secret_access_key: str | None,
    allowed_hosts: tuple[str, ...],
    no_verify: bool,
    output_bucket: str,
    s3_endpoint_url: str | None,
    faults: bool,
) -> None:
    """Serve SageMaker Runtime's wire protocol in front of your own model containers.

    For any AWS SDK, with signatures, event streams and async inference; an object store on
    the same port answers as S3 does. A development server: everything is in memory, and is
    gone when it stops, which Ctrl-C or SIGTERM tells it to.
    """
    if (access_key_id is None) != (secret_access_key is None):
        raise click.UsageError("--access-key-id and --secret-access-key go together.")
    if len({container.names for container in containers}) < len(containers):
        raise click.UsageError(
            "Two containers of an endpoint are named alike: give each a variant."
        )
    from aiosmrt._aws.credentials import Credentials
    from aiosmrt.local import LocalEndpoint

    def make() -> LocalEndpoint:
        credentials = None
        if access_key_id is not None and secret_access_key is not None:
            credentials = Credentials(access_key_id, secret_access_key)
        return LocalEndpoint(
            host,
            port,
            region=region,
            credentials=credentials,
            allowed_hosts=allowed_hosts,
            verify=not no_verify,
            output_bucket=output_bucket,
            s3_endpoint_url=s3_endpoint_url,
            s3_credentials=credentials,
            fault_header=faults,
            max_received=0,  # nobody can ask it
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )

    allow_open_files()  # a stream has two connections
    run_async(_serve(make, containers, tells_key=access_key_id is None))


async def _serve(
    make: Callable[[], LocalEndpoint], containers: tuple[_Container, ...], *, tells_key: bool
) -> None:
    endpoint = make()  # here, where what is wrong with a setting becomes one line
    for container in containers:
        container.add_to(endpoint)
    async with endpoint:
        stop = _handle_signals()
        say(f"SageMaker Runtime, local edition, answers at {endpoint.url}")
        for container in containers:
            say(f"  {container}")
        if tells_key and endpoint.s3_url != endpoint.url:
            # An SDK signs for both with one key.
            say(f"The S3 at {endpoint.s3_url} may not know the key below: start this with one that")
            say("it knows, by --access-key-id and --secret-access-key.")
        say("Point an AWS SDK at it:")
        for line in _exports(endpoint, tells_key=tells_key):
            say(f"  {line}")
        status = await stop
        say("Stopping")
        statuses = [inference.status for inference in endpoint.async_inferences]
        if under_way := statuses.count("queued") + statuses.count("running"):
            say(f"Async inferences under way: {under_way}; they have {_SHUTDOWN_SECONDS:g} seconds")
    raise click.exceptions.Exit(status)


def _handle_signals() -> asyncio.Future[int]:
    """Gives the exit status that SIGINT or SIGTERM asks for; a second one ends it at once."""
    import asyncio

    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()
    # A server that was told to stop and did has done its work: 0 for SIGTERM.
    statuses = {signal.SIGINT: 128 + signal.SIGINT, signal.SIGTERM: 0}

    def end(status: int) -> None:
        if not stop.done():  # both may have come in one turn of the loop
            stop.set_result(status)
        for number in statuses:
            loop.remove_signal_handler(number)

    for number, status in statuses.items():
        with contextlib.suppress(NotImplementedError):  # Windows, where Ctrl-C raises
            loop.add_signal_handler(number, end, status)
    return stop


def _exports(endpoint: LocalEndpoint, *, tells_key: bool) -> list[str]:
    """The shell's lines that make an SDK call this endpoint."""
    key = endpoint.credentials.secret_access_key if tells_key else "..."
    variables = {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint.url,
        "AWS_ENDPOINT_URL_S3": endpoint.s3_url,
        "AWS_REGION": endpoint.region,
        "AWS_DEFAULT_REGION": endpoint.region,
        "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key,
    }
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
