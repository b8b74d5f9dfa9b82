"""The command ``aiosmrt``: its subcommands, and what each ending exits with."""

from __future__ import annotations

import signal
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import click

from aiosmrt import __version__
from aiosmrt._cli.batch import batch
from aiosmrt._cli.invoke import invoke
from aiosmrt._cli.invoke_async import invoke_async
from aiosmrt._cli.local import local
from aiosmrt._cli.stream import stream
from aiosmrt._cli.terminal import say
from aiosmrt._values import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]

_INTERRUPTED = 128 + signal.SIGINT


@click.group(
    # Without a command nothing is done: wrong usage, and in click 8.1 too.
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Exit status: 0 done, 1 an error, 2 wrong usage, 130 interrupted by Ctrl-C, "
        "141 stdout was closed by its reader, 143 ended by SIGTERM."
    ),
)
@click.version_option(__version__, prog_name="aiosmrt", message="%(prog)s %(version)s")
def aiosmrt() -> None:
    """Call Amazon SageMaker Runtime, or serve its protocol on this machine.

    Answers go to stdout as they are, all else to stderr. Settings that are not given
    come from the environment and the profile, as for the AWS CLI.
    """


for _command in (invoke, stream, invoke_async, batch, local):
    aiosmrt.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line to its end.

    Args:
        arguments: Its words after ``aiosmrt``; None takes the process's.

    Returns:
        The exit status.
    """
    warnings.showwarning = _show_warning
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # asyncio puts its own in the default's place, which lets a write to a reader that has
        # stopped reading hang until a second Ctrl-C.
        signal.signal(signal.SIGINT, _interrupt)
    try:
        # None from a command that returned, else the status of one that exited.
        return aiosmrt.main(arguments, prog_name="aiosmrt", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as its sentence: where in the code it arose tells a command's user nothing."""
    say(f"Warning: {printable(str(message))}")
