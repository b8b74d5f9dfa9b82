"""``aiosmrt batch``: a file of records through an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiosmrt._cli.open_files import allow_open_files
from aiosmrt._cli.options import Call, call_options
from aiosmrt._cli.terminal import run_async, say
from aiosmrt._protocol.operations import INVOKE_ENDPOINT

__all__ = ["batch"]

# What holds for one call alone.
_NOT_OF_A_BATCH = ("inference_id", "session_id", "prefix_aware_id")
# A session's connections where `auto` is to find out how many are of use.
_AUTO_CONNECTIONS = 100
# Open beside the connections: files, pipes, the loop's own.
_OTHER_FILES = 32


def _concurrency(value: str) -> int | str:
    """``--concurrency``'s type for click."""
    if value == "auto":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter("it must be an integer of at least 1, or auto")
    return int(value)


@click.command(short_help="Invoke an endpoint for every record of a file.")
@call_options(INVOKE_ENDPOINT, without=_NOT_OF_A_BATCH)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="OUTPUT",
    type=click.Path(path_type=Path),
    required=True,
    help="A .jsonl, .csv or .parquet file, of a line for every record.",
)
@click.option(
    "--concurrency",
    metavar="N",
    type=_concurrency,
    default="64",
    show_default=True,
    help="How many requests are under way at once; auto finds out how many are best.",
)
@click.option(
    "--max-concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"The most that --concurrency auto goes to.  [default: {_AUTO_CONNECTIONS}]",
)
@click.option("--key-field", metavar="FIELD", help="The field whose value is a record's key.")
@click.option("--header", is_flag=True, help="A CSV input's first line names its columns.")
@click.option("--resume", is_flag=True, help="Go on with an output that is there.")
@click.option(
    "--retry-failed", is_flag=True, help="With --resume, try again what failed in earlier runs."
)
@click.option(
    "--rate",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    help="The most requests a second.",
)
@click.option(
    "--records-per-request",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many records one request carries, joined by newlines.",
)
@click.option(
    "--drain-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="How long a signal waits for what is under way.",
)
@click.option(
    "--report",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with plots of latency and throughput.",
)
def batch(call: Call, source: Path, output: Path, **how: Any) -> None:
    """Invoke ENDPOINT for every record of INPUT, and write a line for each to OUTPUT.

    INPUT is a .jsonl file of one JSON value a line, or a .csv or .parquet file. Each line
    of the output holds the record's key and index, what the model answered or the error,
    the attempts and the seconds it took.

    Ctrl-C and SIGTERM stop it after what is under way, a second one at once; then, and
    after a crash, --resume goes on where it stopped. Exit status 1 when a record failed,
    after all were tried; 130 or 143 when Ctrl-C or SIGTERM stopped it before.
    """
    if how["max_concurrency"] is not None and how["concurrency"] != "auto":
        raise click.UsageError("--max-concurrency goes with --concurrency auto.")
    if how["retry_failed"] and not how["resume"]:
        raise click.UsageError("--retry-failed goes with --resume.")
    call.settings["max_connections"] = _connections(how["concurrency"], how["max_concurrency"])
    run_async(_batch(call, source, output, how))


def _connections(concurrency: int | str, most: int | None) -> int:
    """How many a session is to have."""
    wanted = concurrency if isinstance(concurrency, int) else most or _AUTO_CONNECTIONS
    limit = allow_open_files()
    if wanted + _OTHER_FILES > limit:  # each request more would be a record that failed
        raise click.UsageError(
            f"At most {limit} files may be open here, of which each of {wanted} requests at once "
            "is one: raise that limit (ulimit -n), or give less."
        )
    return wanted


async def _batch(call: Call, source: Path, output: Path, how: dict[str, Any]) -> None:
    from aiosmrt.batch import run, show_progress

    async with call.open_session() as session:
        with show_progress() as progress:
            summary = await run(
                session,
                call.endpoint_name,
                source,
                output,
                progress=progress,
                handle_signals=True,
                **how,
                **call.parameters,
            )
    say(str(summary))
    if not summary.is_complete and summary.signal is not None:
        raise click.exceptions.Exit(128 + summary.signal)
    if summary.failed:
        raise click.exceptions.Exit(1)
