"""What a run counts, against counting it all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt import ModelError
from aiosmrt.batch import RecordFaultError
from aiosmrt.batch._statistics import Histogram, Statistics


@given(
    seconds=st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200),
    share=st.floats(0.01, 1),
)
def test_a_quantile_is_known_to_within_its_step(seconds, share):
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    exact = sorted(seconds)[max(math.ceil(share * len(seconds) - 1e-9) - 1, 0)]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.05)
    assert histogram.largest == max(seconds)
    assert sum(count for _, count in histogram) == histogram.count == len(seconds)


def test_without_any_there_is_no_quantile():
    assert Histogram().quantile(0.5) is None


@given(first=st.lists(st.floats(0, 100)), second=st.lists(st.floats(0, 100)))
def test_merged_histograms_are_those_of_all(first, second):
    merged, other, whole = Histogram(), Histogram(), Histogram()
    for each in first:
        merged.add(each)
        whole.add(each)
    for each in second:
        other.add(each)
        whole.add(each)
    merged.merge(other)
    assert (merged.steps, merged.count, merged.largest) == (
        whole.steps,
        whole.count,
        whole.largest,
    )


def add(statistics, now, errors=(None,), latency=0.1, attempts=1):
    statistics.add(list(errors), attempts=attempts, latency=latency, concurrency=8, now=now)


def test_a_long_run_has_as_many_intervals_as_fit():
    statistics = Statistics(100_000, 0, 0, now=0.0)
    for second in range(5_000):
        add(statistics, float(second), (None, ModelError()))
    assert 300 <= len(statistics.intervals) <= 600
    assert statistics.width == 16.0
    assert sum(interval.succeeded for interval in statistics.intervals) == 5_000
    assert sum(interval.failed for interval in statistics.intervals) == 5_000
    assert all(interval.succeeded <= 16 for interval in statistics.intervals)


def test_the_progress_is_of_the_last_ten_seconds():
    statistics = Statistics(1_000, 100, 7, now=0.0)
    told = statistics.progress(concurrency=8, in_flight=8, is_stopping=False, now=0.0)
    assert (told.done, told.failed, told.rate, told.remaining) == (100, 7, 0.0, None)
    assert told.p50 is None
    for tenth in range(1, 301):
        now = tenth / 10
        for _ in range(1 if now <= 10 else 2):
            add(statistics, now, (ModelError(),) if tenth % 100 == 0 else (None,), latency=now)
        told = statistics.progress(concurrency=8, in_flight=3, is_stopping=True, now=now)
    assert told.rate == pytest.approx(20, rel=0.02)
    assert told.done == 100 + 500
    assert told.failed == 7 + 5
    assert told.remaining == pytest.approx(400 / 20, rel=0.02)
    assert told.elapsed == 30
    assert told.is_stopping
    assert told.p99 is not None
    assert told.p50 == pytest.approx(17.5, abs=0.2)


def test_the_summary():
    statistics = Statistics(10, 4, 1, now=5.0)
    add(statistics, 6.0, (None, None), attempts=3)
    add(statistics, 6.0, (ModelError("\x1b[31mno\n" + "x" * 400), ModelError("b")), attempts=1)
    add(statistics, 6.0, (RecordFaultError("line 2"),), attempts=0, latency=None)
    summary = statistics.summary(now=7.0)
    assert summary.succeeded == 2
    assert summary.failed == 4
    assert summary.requests == 4
    assert summary.elapsed == 2.0
    assert not summary.is_complete
    text = str(summary)
    assert "5 of 10 records in 2.0 s" in text
    assert "2.5 records/s" in text
    assert "\n4 failed: ModelError 2, RecordFaultError 1\n" in text
    # No control character reaches a terminal, and no line is without an end.
    said = rf"\x1b[31mno\n{'x' * 288}... [408 characters in all]"
    assert f"\n  ModelError: {said}\n  RecordFaultError: line 2\n" in text
    assert "4 were done before" in text
    assert "run it again with resume" in text
    add(statistics, 7.0)
    assert statistics.summary(now=8.0).is_complete
