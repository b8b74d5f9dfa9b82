"""Which values are bytes, integers and numbers, and how texts from elsewhere are shown."""

import sys
from typing import TypeGuard

__all__ = ["hide", "is_finite", "is_integer", "printable", "to_bytes"]

# Unicode's spaces (category Zs), which `str.isprintable` refuses, except ASCII's: French and
# Japanese sentences have some.
_SPACES = frozenset("\xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
# ZERO WIDTH NON-JOINER and JOINER: Persian and Hindi words have them, and emoji of several parts.
_JOINERS = frozenset("\u200c\u200d")


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


def printable(text: str, most: int | None = None) -> str:
    r"""Returns a text from elsewhere as it may appear in a log or on a terminal.

    Characters that a terminal obeys, that begin a line, that reorder the text around them, or
    that nobody sees become what a Python literal has for them: ``\n``, ``\x1b``, ``\u202e``. The
    result is one line that every encoding for Unicode can write. Spaces of any width stay, and
    so do the joiners within words and emoji.

    Args:
        text: The text.
        most: How many characters are shown; the end of a longer text is cut off, and marked.
            None shows all.
    """
    shown = text if most is None else text[:most]
    if not shown.isprintable():
        shown = "".join(
            [each if _is_shown(text, at) else _escape(each) for at, each in enumerate(shown)]
        )
    if most is None or len(text) <= most >= len(shown):
        return shown
    return f"{shown[:most]}... [{len(text)} characters in all]"


def _is_shown(text: str, at: int) -> bool:
    character = text[at]
    if character in _JOINERS:
        return at > 0 and _is_joined(text[at - 1]) and _is_joined(text[at + 1 : at + 2])
    return character.isprintable() or character in _SPACES


def _is_joined(character: str) -> bool:
    """Whether a joiner beside the character can have a meaning; beside ASCII it only hides."""
    return character > "\x7f" and character.isprintable()


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def is_integer(value: object) -> TypeGuard[int]:
    """Returns whether a value is an integer; True and False are not, though bool is an int."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[float]:
    """Returns whether a value is a number that a float can hold, and not NaN, True or False."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max
