"""``aiosmrt local``: the service's protocol in front of containers on this machine."""

from __future__ import annotations

import contextlib
import shlex
import signal
from typing import TYPE_CHECKING

import click

from aiosmrt.cli.terminal import run_async, say

if TYPE_CHECKING:
    import asyncio

    from aiosmrt.local import LocalEndpoint

__all__ = ["local"]

# How long async inferences have to finish once it is told to stop.
_SHUTDOWN_SECONDS = 10.0


def _container(value: str) -> tuple[str, str]:
    """A container's type for click."""
    name, separator, url = value.partition("=")
    if not (name and separator and url):
        raise click.BadParameter("it must be NAME=URL, as in digits=http://127.0.0.1:8080")
    return name, url


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
    metavar="NAME=URL",
    type=_container,
    multiple=True,
    help="An endpoint's name and the URL of its model container, which answers GET /ping and "
    "POST /invocations. Can be repeated.",
)
@click.option("--region", default="us-east-1", show_default=True, help="The region it stands for.")
@click.option("--access-key-id", metavar="ID", help="What requests must be signed with.")
@click.option("--secret-access-key", metavar="KEY", help="The key of that id.")
@click.option("--no-verify", is_flag=True, help="Take requests whatever their signature.")
def local(
    *,
    host: str,
    port: int,
    containers: tuple[tuple[str, str], ...],
    region: str,
    access_key_id: str | None,
    secret_access_key: str | None,
    no_verify: bool,
) -> None:
    """Serve SageMaker Runtime's wire protocol in front of your own model containers.

    For any AWS SDK, with signatures, event streams and async inference; an object store on
    the same port answers as S3 does. A development server: everything is in memory, and is
    gone when it stops, which Ctrl-C or SIGTERM tells it to.
    """
    if (access_key_id is None) != (secret_access_key is None):
        raise click.UsageError("--access-key-id and --secret-access-key go together.")
    from aiosmrt.auth.credentials import Credentials
    from aiosmrt.local import LocalEndpoint

    credentials = None
    if access_key_id is not None and secret_access_key is not None:
        credentials = Credentials(access_key_id, secret_access_key)
    endpoint = LocalEndpoint(
        host,
        port,
        region=region,
        credentials=credentials,
        verify=not no_verify,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    run_async(_serve(endpoint, containers, tells_key=credentials is None))


async def _serve(
    endpoint: LocalEndpoint, containers: tuple[tuple[str, str], ...], *, tells_key: bool
) -> None:
    for name, url in containers:
        endpoint.add_container(name, url)
    async with endpoint:
        stop = _handle_signals()
        say(f"SageMaker Runtime, local edition, answers at {endpoint.url}")
        for name, url in containers:
            say(f"  {name}: {url}")
        say("Point an AWS SDK at it:")
        for line in _exports(endpoint, tells_key=tells_key):
            say(f"  {line}")
        status = await stop
        say("Stopping")
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
        "AWS_ENDPOINT_URL_S3": endpoint.url,
        "AWS_REGION": endpoint.region,
        "AWS_DEFAULT_REGION": endpoint.region,
        "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key,
    }
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
