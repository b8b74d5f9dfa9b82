"""``aiosmrt async``: queues an inference, and waits for its output where asked to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from aiosmrt._cli.options import (
    Call,
    call_options,
    constrained,
    read_stdin,
    seconds,
    verbose_option,
)
from aiosmrt._cli.terminal import Stdout, json_line, open_stdout, run_async, say, spinner
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_ASYNC

__all__ = ["invoke_async"]

_LIMIT = INVOKE_ENDPOINT_ASYNC.max_body_length
(_location,) = (
    constrained(binding.parameter, binding.constraint)
    for binding in INVOKE_ENDPOINT_ASYNC.inputs
    if binding.parameter == "input_location"
)


def _source(value: str) -> str | int | Path | bytes:
    """The input's type for click: an S3 URI, or ``@FILE``, or ``-`` for stdin."""
    if value == "-":
        return read_stdin()
    if value.startswith("@"):
        path = Path(value[1:])
        if not path.is_file():
            raise click.BadParameter(f"there is no file {value[1:]!r}")
        return path
    if not value.startswith(("s3://", "https://")):
        raise click.BadParameter("it is neither an s3:// or https:// URI, nor @FILE, nor -")
    return _location(value)


@click.command("async", short_help="Queue an inference, and wait for its output if asked to.")
@call_options(INVOKE_ENDPOINT_ASYNC, without=("input_location",))
@verbose_option
@click.argument("source", metavar="S3_URI", type=_source)
@click.option("--wait", is_flag=True, help="Wait for the output and print it.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --wait: write the output to this file, which appears when it is whole.",
)
@click.option(
    "--wait-timeout",
    metavar="SECONDS",
    type=seconds,
    help="With --wait: how long to wait for the output.  [default: no limit]",
)
@click.option(
    "--upload-to",
    metavar="S3_URI",
    type=_location,
    help=f"Where to put an input of over {_LIMIT} bytes that is not in S3; "
    "s3://bucket/prefix/ makes a new name below it.",
)
@click.option("--s3-endpoint-url", metavar="URL", help="The URL of S3.")
def invoke_async(
    call: Call,
    source: str | Path | bytes,
    *,
    wait: bool,
    output: Path | None,
    wait_timeout: float | None,
    upload_to: str | None,
    s3_endpoint_url: str | None,
) -> None:
    """Queue an inference for ENDPOINT of the input at S3_URI.

    @FILE or - in its place sends a file, or stdin. Prints the inference's id and locations
    as a line of JSON; with --wait that goes to stderr, and the output to stdout, byte for
    byte.
    """
    if not wait and (output is not None or wait_timeout is not None):
        raise click.UsageError("-o and --wait-timeout are of use with --wait only.")
    if output is not None and not output.parent.is_dir():
        # Not behind the wait: the model would have worked for nobody.
        raise click.UsageError(f"The directory {str(output.parent)!r} of -o does not exist.")
    keywords: dict[str, Any] = dict(call.parameters)
    if isinstance(source, str):
        keywords["input_location"] = source
    else:
        length = len(source) if isinstance(source, bytes) else source.stat().st_size
        if length > _LIMIT and upload_to is None:
            raise click.UsageError(
                f"An input of {length} bytes is too long to travel with the call: "
                "say with --upload-to where in S3 to put it."
            )
        keywords |= {"body": source, "input": "auto", "input_location": upload_to}
    if s3_endpoint_url is not None:
        call.settings["s3_endpoint_url"] = s3_endpoint_url
    timeout = None if wait_timeout is None or math.isinf(wait_timeout) else wait_timeout
    with open_stdout() as stdout:
        run_async(_queue(call, keywords, stdout, wait=wait, timeout=timeout, output=output))


async def _queue(
    call: Call,
    keywords: dict[str, Any],
    stdout: Stdout,
    *,
    wait: bool,
    timeout: float | None,
    output: Path | None,
) -> None:
    async with call.open_session() as session:
        invocation = await session.invoke_endpoint_async(call.endpoint_name, **keywords)
        call.tell(invocation)
        facts = json_line(invocation.to_dict())
        if not wait:
            stdout.write(facts)
            return
        say(facts.decode().rstrip())  # whoever stops waiting can still find the output
        with spinner(f"Waiting for the output of {call.endpoint_name}"):
            result = await invocation.result(timeout)
            if output is not None:
                await result.save(output)
                return
            body = await result.read()
        stdout.write(body)
