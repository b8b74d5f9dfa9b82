"""``aiosmrt stream``: one call, and its answer on stdout as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from aiosmrt._cli.options import Call, body_argument, call_options, verbose_option
from aiosmrt._cli.terminal import Stdout, json_line, open_stdout, run_async, say
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiosmrt._client.stream_stats import StreamStats
    from aiosmrt._client.streaming import ResponseStream

__all__ = ["stream"]


def _encode(text: str) -> bytes:
    # A JSON string can hold half of a surrogate pair, which UTF-8 has no form for.
    return text.encode(errors="replace")


# How each format reads the stream, and how it writes what it reads.
_FORMATS: dict[
    str, tuple[Callable[[ResponseStream], AsyncIterator[Any]], Callable[[Any], bytes]]
] = {
    "raw": (lambda stream: stream.iter_bytes(), bytes),
    "lines": (lambda stream: stream.iter_lines(), lambda line: _encode(line + "\n")),
    "sse": (lambda stream: stream.iter_sse(), lambda event: json_line(attrs.asdict(event))),
    "json": (lambda stream: stream.iter_json(), json_line),
    "text": (lambda stream: stream.iter_text(), _encode),
    "tokens": (lambda stream: stream.iter_tokens(), lambda token: _encode(token.text)),
}


@click.command(short_help="Invoke an endpoint and print its answer as it comes.")
@call_options(INVOKE_ENDPOINT_WITH_RESPONSE_STREAM)
@verbose_option
@body_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    default="raw",
    show_default=True,
    help="What to print of the answer.",
)
def stream(call: Call, body: bytes, form: str) -> None:
    """Invoke ENDPOINT with BODY and print its answer as it comes, unbuffered.

    BODY is the text itself, @FILE for a file's bytes, or - for stdin. Put -- before a text
    that begins with a hyphen; a text that begins with @ can come by stdin.

    \b
    Formats:
      raw     the parts' bytes, untouched
      lines   whole lines, each ended by a line feed
      sse     each server-sent event as a line of JSON: event, data, id, retry
      json    each JSON value (of events, JSON Lines or values in a row) on a line
      text    UTF-8 text, no character cut
      tokens  the text that a language model generates
    """  # noqa: D301 - the character by which click knows what it may not fill anew
    with open_stdout() as stdout:
        run_async(_stream(call, body, form, stdout))


async def _stream(call: Call, body: bytes, form: str, stdout: Stdout) -> None:
    read, encode = _FORMATS[form]
    async with (
        call.open_session() as session,
        session.invoke_endpoint_with_response_stream(
            call.endpoint_name, body, **call.parameters
        ) as answer,
    ):
        call.tell(answer)
        async for item in read(answer):
            stdout.write(encode(item))
        if call.verbose:
            say(_describe(answer.stats))


def _describe(stats: StreamStats) -> str:
    text = f"Parts: {stats.parts}, head after {stats.time_to_head:.3f} s"
    if stats.time_to_first_part is not None:
        text += f", first part after {stats.time_to_first_part:.3f} s"
    if stats.longest_gap is not None:
        text += f", longest gap {stats.longest_gap:.3f} s"
    return text
