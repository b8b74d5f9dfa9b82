"""What the decoders of this package have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Decoder"]

_T_co = TypeVar("_T_co", covariant=True)


class Decoder(Protocol[_T_co]):
    """Takes bytes cut anywhere, and yields what is whole."""

    def receive_data(self, data: bytes, /) -> None:
        """Takes the next bytes."""

    def receive_eof(self) -> None:
        """Marks the end: no more bytes come."""

    def __iter__(self) -> Iterator[_T_co]:
        """Yields what is whole now."""
        ...
