"""Stdout for answers, stderr for people, and errors as one line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from aiosmrt._values import printable
from aiosmrt.errors import AiosmrtError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextlib import AbstractContextManager

__all__ = ["Stdout", "json_line", "open_stdout", "run_async", "say", "spinner"]

_BROKEN_PIPE = 128 + 13  # what a shell shows of a program that SIGPIPE, 13, ends


class Stdout:
    """Writes to stdout without a buffer: what is written is with its reader.

    A reader that does not read holds the whole command up, which then reads no further
    from the service: that is the backpressure.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.in_line = False

    def write(self, data: bytes) -> None:
        """Writes all of ``data``.

        Raises:
            click.exceptions.Exit: The reader has gone, which is no error: ``| head`` does it.
            click.ClickException: It cannot be written: the disk is full.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except BrokenPipeError:
            raise click.exceptions.Exit(_BROKEN_PIPE) from None
        except OSError as error:
            raise click.ClickException(f"stdout: {error.strerror}") from None
        if data:
            self.in_line = not data.endswith(b"\n")


@contextlib.contextmanager
def open_stdout() -> Generator[Stdout]:
    """Gives stdout, before anything is sent; on a terminal, what follows begins a line.

    Raises:
        click.ClickException: Stdout is closed.
    """
    if sys.stdout is None:  # closed by `>&-`
        # Its number may be a socket's by now.
        raise click.ClickException("stdout is closed")
    stdout = Stdout(sys.stdout.fileno())
    try:
        yield stdout
    finally:
        if stdout.in_line and sys.stdout.isatty() and sys.stderr.isatty():
            click.echo(err=True)


def say(text: str) -> None:
    """Prints lines for people, to stderr: nothing in them is a command to the terminal."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)


def spinner(text: str) -> AbstractContextManager[object]:
    """Shows on a terminal that something is waited for; elsewhere nothing."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(text)


def json_line(value: Any) -> bytes:
    """A value as one line of JSON, in UTF-8."""
    compact = (",", ":")
    try:
        return f"{json.dumps(value, ensure_ascii=False, separators=compact)}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 has no form for
        return f"{json.dumps(value, separators=compact)}\n".encode()


def run_async(main: Coroutine[Any, Any, None]) -> None:
    """Runs a command's coroutine, and turns what it raises into an exit status.

    Raises:
        click.ClickException: An error, as its sentence: status 1.
        click.exceptions.Exit: Another status: of Ctrl-C, of a closed pipe.
    """
    import asyncio  # 50 ms, which --help need not wait for

    try:
        asyncio.run(main)
    except (AiosmrtError, OSError) as error:
        raise click.ClickException(printable(str(error))) from error
    except KeyboardInterrupt:
        raise click.exceptions.Exit(128 + signal.SIGINT) from None
