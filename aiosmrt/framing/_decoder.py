"""What the decoders of this package have in common."""

import enum
from abc import abstractmethod
from collections.abc import Generator, Iterator
from typing import Final, Literal, Protocol, TypeVar

__all__ = ["NEED_DATA", "PAUSED", "Decoder", "NeedData", "PausingDecoder"]

_T_co = TypeVar("_T_co", covariant=True)
_T = TypeVar("_T")


class NeedData(enum.Enum):
    """What a decoder hands out while no unit is whole; None is a unit, JSON's null.

    ``PAUSED`` comes from ``step`` alone.
    """

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA: Final[Literal[NeedData.NEED_DATA]] = NeedData.NEED_DATA
PAUSED: Final[Literal[NeedData.PAUSED]] = NeedData.PAUSED


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
    def step(self) -> _T_co | NeedData:
        """Does some milliseconds of work at most, for event loops.

        Returns:
            The next unit; NEED_DATA if none is whole yet; PAUSED if work is left for the next
            step, before any data is needed.
        """

    def next_unit(self) -> _T_co | Literal[NeedData.NEED_DATA]:
        """Returns the next unit; NEED_DATA if none is whole yet. Raises as ``step`` does."""
        while (unit := self.step()) is PAUSED:
            pass
        return unit

    def __iter__(self) -> Iterator[_T_co]:
        """Yields the units that are whole now; raises as ``step`` does."""
        while (unit := self.step()) is not NEED_DATA:
            if unit is not PAUSED:
                yield unit


class PausingDecoder(Decoder[_T]):
    """A decoder that takes more than one step for a long unit.

    Attributes:
        work: Makes the next unit, and stops after each step; None where there is none to do.
    """

    __slots__ = ("work",)

    def __init__(self) -> None:
        self.work: Generator[None, None, _T] | None = None

    def go_on(self, work: Generator[None, None, _T]) -> _T | Literal[NeedData.PAUSED]:
        """Does one step of some work, and keeps the rest of it for the next step.

        Returns:
            The unit, once it is made; PAUSED before.
        """
        self.work = None
        try:
            next(work)
        except StopIteration as done:
            unit: _T = done.value
            return unit
        self.work = work
        return PAUSED
