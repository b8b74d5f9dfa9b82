"""Which texts may stand in a line of a log, and be shown on a terminal."""

from __future__ import annotations

import unicodedata

__all__ = ["is_readable"]


def is_readable(text: str) -> bool:
    """Returns whether a text is one line without controls.

    Besides what ``str.isprintable`` takes, spaces of any width and the joiners of words and
    emoji are readable.
    """
    return len(text.splitlines()) <= 1 and all(
        each.isprintable() or unicodedata.category(each) == "Zs" or each in "\u200c\u200d"
        for each in text
    )
