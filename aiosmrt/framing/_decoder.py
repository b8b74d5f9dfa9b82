"""What the decoders of this package have in common."""

from __future__ import annotations

import enum
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NEED_DATA", "Decoder", "NeedData"]

_T_co = TypeVar("_T_co", covariant=True)


class NeedData(enum.Enum):
    """What a decoder hands out while no unit is whole; None is a unit, JSON's null."""

    NEED_DATA = "need data"


NEED_DATA: Final[Literal[NeedData.NEED_DATA]] = NeedData.NEED_DATA


class Decoder(Protocol[_T_co]):
    """Takes bytes cut anywhere, and hands out the units that are whole."""

    __slots__ = ()

    @abstractmethod
    def receive_data(self, data: bytes, /) -> None:
        """Takes the next bytes."""

    @abstractmethod
    def receive_eof(self) -> None:
        """Marks the end: no more bytes come."""

    @abstractmethod
    def next_unit(self) -> _T_co | Literal[NeedData.NEED_DATA]:
        """Returns the next unit; NEED_DATA if none is whole yet."""

    def __iter__(self) -> Iterator[_T_co]:
        """Yields the units that are whole now; raises as ``next_unit`` does."""
        while (unit := self.next_unit()) is not NEED_DATA:
            yield unit
