"""The options of the commands that call an operation, made of the operation table."""

from __future__ import annotations

import functools
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import click

from aiosmrt._cli.terminal import say
from aiosmrt._protocol.models import Timeouts
from aiosmrt._protocol.operations import IntegerConstraint, Operation, StringConstraint
from aiosmrt._values import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from aiosmrt._client.session import Session
    from aiosmrt._protocol.operations import HeaderBinding

__all__ = [
    "Call",
    "body_argument",
    "call_options",
    "constrained",
    "read_stdin",
    "seconds",
    "verbose_option",
]

_Decorator: TypeAlias = "Callable[[Callable[..., None]], Callable[..., None]]"

_HELP = {
    "content_type": "The MIME type of the input.",
    "accept": "The MIME type wanted of the output.",
    "custom_attributes": "Passed to the container unread.",
    "target_model": "The model of a multi-model endpoint.",
    "target_variant": "The production variant.",
    "target_container_hostname": "The container of a multi-container endpoint.",
    "inference_id": "An id of your own for this inference.",
    "enable_explanations": "A JMESPath expression for Clarify.",
    "inference_component_name": "The inference component.",
    "session_id": "The stateful session; invoke opens one for NEW_SESSION.",
    "prefix_aware_id": "Routes requests of a common prefix together.",
    "s3_output_path_extension": "Appended to the endpoint's output path.",
    "filename": "The output object's name.",
    "request_ttl_seconds": "How long the request may wait in the queue.",
    "invocation_timeout_seconds": "How long the model may take.",
}

_TIMEOUTS = {
    "connect_timeout": ("connect", "To a connection."),
    "read_timeout": ("read", "From the request's end to the response's head."),
    "idle_timeout": ("idle", "Between two chunks of the response."),
    "timeout": ("total", "For all attempts, until the output is here (of a stream: its head)."),
}


_PIECE = 1_048_576


def constrained(
    parameter: str, constraint: StringConstraint | IntegerConstraint
) -> Callable[[str], str | int]:
    """A parameter's type for click: what the operation table takes, as the session takes it."""

    def convert(value: str) -> str | int:
        try:
            typed = int(value) if isinstance(constraint, IntegerConstraint) else value
            constraint.check(parameter, typed)
        except ValueError:  # ParameterValidationError is one too
            raise click.BadParameter(f"it {constraint.rule}") from None
        return typed

    return convert


def seconds(value: str) -> float:
    """A time limit's type for click: 0 is no limit, here infinity."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise click.BadParameter("it must be a number of seconds, or 0 for no limit")
    return number or math.inf


def read_stdin() -> bytes:
    """Reads stdin to its end.

    Raises:
        click.BadParameter: It is closed, or cannot be read.
    """
    if sys.stdin is None:  # closed by `<&-`
        raise click.BadParameter("stdin is closed")
    data = bytearray()
    try:
        # Piece by piece, as Ctrl-C between two reads takes effect in Python code only.
        while piece := os.read(sys.stdin.fileno(), _PIECE):
            data += piece
    except OSError as error:
        raise click.BadParameter(f"stdin: {error.strerror}") from error
    return bytes(data)


def _read_body(value: str) -> bytes:
    if value == "-":
        return read_stdin()
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"{value[1:]!r}: {error.strerror}") from error
    return os.fsencode(value)  # as it was on the command line, text or not


body_argument: _Decorator = click.argument("body", type=_read_body)
"""Adds BODY to a command: the text itself, ``@FILE``, or ``-`` for stdin."""

verbose_option: _Decorator = click.option(
    "-v", "--verbose", is_flag=True, help="Tell on stderr what came beside the output."
)
"""Adds what makes ``Call.tell`` speak."""


@attrs.frozen(kw_only=True)
class Call:
    """What the command line says of a call: the endpoint, the parameters, the session.

    The body is not among the parameters, and the settings are keywords of Session.
    """

    operation: Operation
    endpoint_name: str
    parameters: dict[str, Any] = attrs.field(repr=False)
    settings: dict[str, Any]
    verbose: bool

    def open_session(self) -> Session:
        """Makes the session, to be entered.

        Raises:
            ConfigurationError: A setting is missing, malformed or contradicts another.
        """
        from aiosmrt._client.session import Session

        return Session(**self.settings)

    def tell(self, output: Any) -> None:
        """Prints what came beside the body, where it was asked for."""
        if not self.verbose:
            return
        for binding in self.operation.outputs:
            value = getattr(output, binding.parameter)
            if value is not None:
                say(f"{binding.member}: {printable(value)}")
        say(f"RequestId: {output.metadata.request_id}, attempts: {output.metadata.attempts}")


def call_options(
    operation: Operation, *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds ENDPOINT and the options of an operation and of a session to a command.

    Returns:
        A decorator, to stand above those of the command's own parameters. The command gets
        a Call, in the place of all that is added here, before its own.
    """
    parameters = [each for each in operation.inputs if each.parameter not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_call(endpoint_name: str, **given: Any) -> None:
            call = Call(
                operation=operation,
                endpoint_name=endpoint_name,
                parameters=_take(given, [binding.parameter for binding in parameters]),
                settings=_take_settings(given),
                verbose=given.pop("verbose", False),
            )
            command(call, **given)

        decorated: Callable[..., None] = with_call
        # click shows first what was added last.
        for add in reversed([*map(_option, parameters), *_session_options()]):
            decorated = add(decorated)
        endpoint_name = constrained("endpoint_name", operation.resource.constraint)
        return click.argument("endpoint_name", metavar="ENDPOINT", type=endpoint_name)(decorated)

    return decorate


def _option(binding: HeaderBinding) -> _Decorator:
    return click.option(
        _flag(binding.parameter),
        metavar="INTEGER" if isinstance(binding.constraint, IntegerConstraint) else "TEXT",
        type=constrained(binding.parameter, binding.constraint),
        help=_HELP[binding.parameter],
    )


def _session_options() -> list[_Decorator]:
    return [
        click.option("--endpoint-url", metavar="URL", help="The service's URL."),
        click.option("--region", help="The AWS region."),
        click.option("--profile", help="The profile of the shared AWS files."),
        *(
            click.option(
                _flag(name),
                metavar="SECONDS",
                type=seconds,
                help=f"{text}  [default: {_default(limit)}]",
            )
            for name, (limit, text) in _TIMEOUTS.items()
        ),
    ]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _default(limit: str) -> str:
    default = getattr(Timeouts(), limit)
    return "none" if default is None else f"{default:g}"


def _take(given: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Takes what was given of these names out of ``given``."""
    taken = {name: given.pop(name) for name in names}
    return {name: value for name, value in taken.items() if value is not None}


def _take_settings(given: dict[str, Any]) -> dict[str, Any]:
    settings = _take(given, ("endpoint_url", "region", "profile"))
    limits = {
        _TIMEOUTS[name][0]: None if math.isinf(limit) else limit
        for name, limit in _take(given, _TIMEOUTS).items()
    }
    if limits:
        settings["timeouts"] = Timeouts(**limits)
    return settings
