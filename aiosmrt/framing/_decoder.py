"""What the decoders of this package have in common."""

from __future__ import annotations

import enum
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["NEED_DATA", "Decoder", "NeedData", "PausingDecoder"]

_T_co = TypeVar("_T_co", covariant=True)
_T = TypeVar("_T")


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
    def step(self) -> _T_co | Literal[NeedData.NEED_DATA]:
        """Does some milliseconds of work at most, for event loops.

        Returns:
            The next unit; NEED_DATA if none is whole yet, and while ``is_paused``.
        """

    @property
    def is_paused(self) -> bool:
        """Whether there is work left for the next ``step``, before any data is needed."""
        return False

    def next_unit(self) -> _T_co | Literal[NeedData.NEED_DATA]:
        """Returns the next unit; NEED_DATA if none is whole yet. Raises as ``step`` does."""
        while (unit := self.step()) is NEED_DATA and self.is_paused:
            pass
        return unit

    def __iter__(self) -> Iterator[_T_co]:
        """Yields the units that are whole now; raises as ``step`` does."""
        while True:
            unit = self.step()
            if unit is not NEED_DATA:
                yield unit
            elif not self.is_paused:
                return


class PausingDecoder(Decoder[_T]):
    """A decoder that takes more than one step for a long unit.

    Attributes:
        work: Makes the next unit, and stops after each step; None where there is none to do.
    """

    __slots__ = ("work",)

    work: Generator[None, None, _T] | None

    @property
    def is_paused(self) -> bool:
        """As `Decoder.is_paused`."""
        return self.work is not None

    def go_on(self, work: Generator[None, None, _T]) -> _T | Literal[NeedData.NEED_DATA]:
        """Does one step of some work, and keeps the rest of it for the next step.

        Returns:
            The unit, once it is made.
        """
        self.work = None
        try:
            next(work)
        except StopIteration as done:
            unit: _T = done.value
            return unit
        self.work = work
        return NEED_DATA
