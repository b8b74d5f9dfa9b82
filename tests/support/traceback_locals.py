"""What a tool that reports the local variables of a traceback would send to its server."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aws_requests_auth
from aws_requests_auth.aws_auth import AWSRequestsAuth

import aiosmrt
from aiosmrt import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

_OURS = tuple(str(Path(module.__file__).parent) for module in (aiosmrt, aws_requests_auth))


def assert_no_secret_in_locals(error: BaseException, secrets: Iterable[str]) -> None:
    """Fails if a frame of ours in the traceback of an error, or of a cause of it, shows a secret.

    Looks at the repr of each local variable, and at those of its attributes. Credentials, and
    the signer of `requests`, hold secrets by purpose: of these only the repr counts.

    Args:
        error: The error.
        secrets: The secret key, the token, and what else must not be shown.
    """
    secrets = list(secrets)
    shown = [
        f"{place}: {name}"
        for place, name, text in locals_of(error)
        if any(secret in text for secret in secrets)
    ]
    assert not shown, shown
    # And the standard library's own, whose reprs must not fail on what is half built.
    for each in _chain(error):
        traceback.TracebackException.from_exception(each, capture_locals=True)


def locals_of(error: BaseException) -> Iterator[tuple[str, str, str]]:
    """Yields place, name and repr of the locals in frames of ours, and of their attributes."""
    for each in _chain(error):
        for frame, line in traceback.walk_tb(each.__traceback__):
            if _is_ours(frame):
                place = f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
                for name, value in frame.f_locals.items():
                    yield place, name, repr(value)
                    for attribute, held in _attributes(value):
                        yield place, f"{name}.{attribute}", repr(held)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, and what it was raised in the handling of, where that is shown."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            context = None if each.__suppress_context__ else each.__context__
            waiting += [other for other in (each.__cause__, context) if other is not None]


def _is_ours(frame: FrameType) -> bool:
    # Methods that attrs generates have no file, but the module of their class.
    module = str(frame.f_globals.get("__name__"))
    return frame.f_code.co_filename.startswith(_OURS) or module.startswith("aiosmrt.")


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Credentials, AWSRequestsAuth, type)) or not type(
        value
    ).__module__.startswith("aiosmrt"):
        return
    names = set(getattr(value, "__dict__", ()))
    for cls in type(value).__mro__:
        slots = getattr(cls, "__slots__", ())
        names.update([slots] if isinstance(slots, str) else slots)
    for name in sorted(names):
        if not name.startswith("__") and hasattr(value, name):
            yield name, getattr(value, name)
