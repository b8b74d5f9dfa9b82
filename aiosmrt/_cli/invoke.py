"""``aiosmrt invoke``: one call, and its answer on stdout."""

from __future__ import annotations

import click

from aiosmrt._cli.options import Call, body_argument, call_options, verbose_option
from aiosmrt._cli.terminal import Stdout, open_stdout, run_async
from aiosmrt._protocol.operations import INVOKE_ENDPOINT

__all__ = ["invoke"]


@click.command(short_help="Invoke an endpoint and print its answer.")
@call_options(INVOKE_ENDPOINT)
@verbose_option
@body_argument
def invoke(call: Call, body: bytes) -> None:
    """Invoke ENDPOINT with BODY and print its answer, byte for byte.

    BODY is the text itself, @FILE for a file's bytes, or - for stdin. Put -- before a text
    that begins with a hyphen; a text that begins with @ can come by stdin.
    """
    with open_stdout() as stdout:
        run_async(_invoke(call, body, stdout))


async def _invoke(call: Call, body: bytes, stdout: Stdout) -> None:
    async with call.open_session() as session:
        output = await session.invoke_endpoint(call.endpoint_name, body, **call.parameters)
    call.tell(output)
    stdout.write(output.body)
