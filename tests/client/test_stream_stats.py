"""What is measured of a stream, by a clock of the test's own."""

from __future__ import annotations

import pytest

from aiosmrt._client.stream_stats import StreamClock, StreamStats

# When bytes arrive, and how many parts are whole with them.
ARRIVALS = [(102.0, 0), (102.125, 2), (102.625, 3), (102.75, 3), (103.375, 4), (103.75, 6)]
# After each arrival: the time to the first part, the mean and the longest gap.
MEASURES = [
    (None, None, None),
    (2.125, None, None),
    (2.125, 0.5, 0.5),
    (2.125, 0.5, 0.5),
    (2.125, 0.625, 0.75),
    (2.125, 1.625 / 3, 0.75),
]


@pytest.mark.parametrize("asked", [0, 1, 2], ids=["at the end", "each time", "between parts"])
def test_the_measures_are_the_same_however_often_they_are_asked_for(asked: int) -> None:
    time = 101.5
    clock = StreamClock(100.0, lambda: time)

    def stats(parts: int) -> StreamStats:
        return clock.stats(parts=parts, bytes_received=7)

    whole = 0
    for (arrival, parts), measures in zip(ARRIVALS, MEASURES, strict=True):
        time = arrival
        clock.arrived(whole)
        handed_out, whole = whole, parts
        time += 0.0625  # until the measures are asked for, which changes none of them
        if asked == 2 and parts - handed_out > 1:
            stats(handed_out + 1)
        if asked:
            found = stats(whole)
            assert (found.time_to_head, found.parts, found.bytes_received) == (1.5, whole, 7)
            first, mean, longest = measures
            assert found.time_to_first_part == first
            assert found.mean_gap == mean
            assert found.longest_gap == longest
            assert stats(whole) == found
    assert stats(whole) == StreamStats(
        time_to_head=1.5,
        time_to_first_part=2.125,
        mean_gap=1.625 / 3,
        longest_gap=0.75,
        parts=6,
        bytes_received=7,
    )


def test_nothing_is_measured_of_parts_before_the_first() -> None:
    times = iter([101.5, 102.0])
    clock = StreamClock(100.0, lambda: next(times))
    clock.arrived(0)
    assert clock.stats(parts=0, bytes_received=7) == StreamStats(
        time_to_head=1.5,
        time_to_first_part=None,
        mean_gap=None,
        longest_gap=None,
        parts=0,
        bytes_received=7,
    )


def test_measures_are_named_and_do_not_change() -> None:
    measures = StreamClock(100.0).stats(parts=0, bytes_received=7)
    with pytest.raises(AttributeError):
        measures.parts = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        StreamStats(1.5, None, None, None, 0, 7)  # type: ignore[misc]
