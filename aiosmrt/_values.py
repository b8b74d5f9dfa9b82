"""Which values are bytes, integers and numbers, and what a repr shows of a payload."""

import sys
from typing import TypeGuard

__all__ = ["hide", "is_finite", "is_integer", "to_bytes"]


def to_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """Returns the bytes of a bytes-like object; ``bytes`` themselves without a copy.

    Raises:
        TypeError: ``data`` is not bytes-like.
    """
    # Through a view, because bytes() would take an int for a length.
    return data if type(data) is bytes else bytes(memoryview(data))


def hide(payload: bytes | str) -> str:
    """Returns a payload's length for its repr: the service model calls payloads sensitive."""
    return f"<{len(payload)} {'bytes' if isinstance(payload, bytes) else 'characters'}>"


def is_integer(value: object) -> TypeGuard[int]:
    """Returns whether a value is an integer; True and False are not, though bool is an int."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[float]:
    """Returns whether a value is a number that a float can hold, and not NaN, True or False."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max
