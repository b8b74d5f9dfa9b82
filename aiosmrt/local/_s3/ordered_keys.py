"""A bucket's keys in S3's order, so that a page of a listing costs what the page holds."""

from __future__ import annotations

from bisect import bisect_left, insort

__all__ = ["OrderedKeys", "after_prefix"]

# A block that grows to twice as many keys is halved: one more key moves no more than that.
_BLOCK = 512
_LAST = "\U0010ffff"


def _last_of(block: list[str]) -> str:
    return block[-1]


class OrderedKeys:
    """Different keys by their code points, whose order is that of their UTF-8 bytes."""

    def __init__(self) -> None:
        self._blocks: list[list[str]] = []

    def add(self, key: str) -> None:
        """Adds a key that is not there."""
        if not self._blocks:
            self._blocks.append([key])
            return
        index = self._find(key)
        block = self._blocks[index]
        insort(block, key)
        if len(block) >= 2 * _BLOCK:
            self._blocks.insert(index + 1, block[_BLOCK:])
            del block[_BLOCK:]

    def remove(self, key: str) -> None:
        """Removes a key that is there."""
        index = self._find(key)
        block = self._blocks[index]
        del block[bisect_left(block, key)]
        if not block:
            del self._blocks[index]

    def first_from(self, text: str) -> str | None:
        """The first key that is not before a text, None when all are."""
        if not self._blocks:
            return None
        block = self._blocks[self._find(text)]
        position = bisect_left(block, text)
        return block[position] if position < len(block) else None

    def _find(self, key: str) -> int:
        """The block that has a key, or would; the last one for a key after all others."""
        return min(bisect_left(self._blocks, key, key=_last_of), len(self._blocks) - 1)


def after_prefix(prefix: str) -> str | None:
    """The first text after all that begin with a prefix; None when nothing comes after them."""
    stem = prefix.rstrip(_LAST)
    return stem[:-1] + chr(ord(stem[-1]) + 1) if stem else None
