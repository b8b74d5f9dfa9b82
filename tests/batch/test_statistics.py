"""What a run counts, against counting it all."""

from __future__ import annotations

import math

import attrs
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


@pytest.mark.parametrize("share, exact", [(0.5, 1.0), (0.51, 10.0), (1.0, 10.0)])
def test_a_quantile_counts_those_that_do_not_exceed_it(share, exact):
    histogram = Histogram()
    histogram.add(10.0)
    histogram.add(1.0)
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.025)


def add(statistics, now, errors=(None,), *, latency=0.1, attempts=1, concurrency=8):
    statistics.add(
        list(errors), attempts=attempts, latency=latency, concurrency=concurrency, now=now
    )


def told(statistics, now):
    return statistics.progress(concurrency=8, in_flight=8, is_stopping=False, now=now)


def test_an_interval_is_a_second_until_there_are_600():
    statistics = Statistics(10, 0, 0, now=50.0)
    add(statistics, 50.0)
    add(statistics, 649.9)
    assert (len(statistics.intervals), statistics.width) == (600, 1.0)
    add(statistics, 650.0)
    assert (len(statistics.intervals), statistics.width) == (301, 2.0)


def test_intervals_that_become_one_keep_what_they_counted():
    statistics = Statistics(10, 0, 0, now=50.0)
    add(statistics, 50.0, latency=0.5, concurrency=3)
    add(statistics, 51.0, (ModelError(),), latency=2.0, concurrency=7)
    add(statistics, 52.0, concurrency=5)
    add(statistics, 650.0)
    first, second, *_, last = statistics.intervals
    assert (first.succeeded, first.failed, first.concurrency) == (1, 1, 7)
    assert (first.latencies.count, first.latencies.largest) == (2, 2.0)
    assert (second.succeeded, second.concurrency) == (1, 5)
    assert {interval.concurrency for interval in statistics.intervals[2:-1]} == {0}
    assert last.succeeded == 1
    assert statistics.latencies().count == 4


def test_the_rate_is_of_what_ended_in_the_last_ten_seconds():
    statistics = Statistics(1_000, 0, 0, now=50.0)
    for _ in range(100):
        add(statistics, 50.5)
    rates = {now: told(statistics, now).rate for now in (51.0, 60.0, 61.0, 61.5, 90.0)}
    assert rates == {51.0: 100.0, 60.0: 10.0, 61.0: pytest.approx(100 / 11), 61.5: 0.0, 90.0: 0.0}
    for _ in range(57):
        add(statistics, 91.0)
    assert told(statistics, 109.0).rate == 3.0


def test_the_latencies_on_the_way_are_of_the_last_thousand():
    statistics = Statistics(10_000, 0, 0, now=0.0)
    for latency in [1.0] * 501 + [2.0] * 489 + [3.0] * 10:
        add(statistics, 1.0, latency=latency)
    assert (told(statistics, 1.0).p50, told(statistics, 1.0).p99) == (1.0, 3.0)
    add(statistics, 1.0, latency=2.0)
    assert (told(statistics, 1.0).p50, told(statistics, 1.0).p99) == (2.0, 3.0)


def test_the_quantiles_of_a_run_are_its_median_and_its_slowest():
    statistics = Statistics(3, 0, 0, now=0.0)
    for latency in (5.0, 0.1, 1.0):
        add(statistics, 1.0, latency=latency)
    summary = statistics.summary(now=1.0)
    assert summary.p50 == pytest.approx(1.0, rel=0.025)
    assert (summary.p99, summary.largest) == (pytest.approx(5.0, rel=0.025), 5.0)


def test_a_run_that_sent_nothing_has_no_figures_of_requests():
    summary = Statistics(7, 7, 2, now=5.0).summary(now=5.0)
    assert (summary.p50, summary.p99, summary.largest) == (None, None, 0.0)
    assert str(summary) == (
        "0 of 7 records in 0.0 s; 0.0 records/s; 0 requests; 7 were done before\n2 failed"
    )


def test_what_was_not_sent_is_not_in_the_latencies():
    statistics = Statistics(3, 0, 0, now=0.0)
    add(statistics, 1.0, (RecordFaultError("line 1"),), attempts=0, latency=None)
    assert statistics.latencies().count == 0
    assert told(statistics, 1.0).p50 is None


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
    statistics = Statistics(1_000, 100, 7, now=90.0)
    told = statistics.progress(concurrency=8, in_flight=8, is_stopping=False, now=90.0)
    assert (told.done, told.failed, told.rate, told.remaining) == (100, 7, 0.0, None)
    assert told.p50 is None
    for tenth in range(1, 301):
        now = tenth / 10
        for _ in range(1 if now <= 10 else 2):
            errors = (ModelError(),) if tenth % 100 == 0 else (None,)
            add(statistics, 90 + now, errors, latency=now)
        told = statistics.progress(concurrency=8, in_flight=3, is_stopping=True, now=90 + now)
    assert told.rate == pytest.approx(20, rel=0.02)
    assert told.done == 100 + 500
    assert told.failed == 7 + 5
    assert told.remaining == pytest.approx(400 / 20, rel=0.02)
    assert told.elapsed == 30
    assert told.is_stopping
    assert told.p99 == pytest.approx(29.8, abs=0.2)
    assert told.p50 == pytest.approx(17.5, abs=0.2)


def test_what_a_run_tells_is_made_by_name_alone():
    statistics = Statistics(1, 0, 0, now=0.0)
    for made in (told(statistics, 0.0), statistics.summary(now=0.0)):
        with pytest.raises(TypeError):
            type(made)(*attrs.astuple(made, recurse=False))


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
    assert "; 4 requests; latency p50 0.0996 s, p99 0.0996 s; " in text
    assert "\n4 failed: ModelError 2, RecordFaultError 1\n" in text
    # No control character reaches a terminal, and no line is without an end.
    said = rf"\x1b[31mno\n{'x' * 288}... [408 characters in all]"
    assert f"\n  ModelError: {said}\n  RecordFaultError: line 2\n" in text
    assert "4 were done before" in text
    assert "run it again with resume" in text
    add(statistics, 7.0)
    assert statistics.summary(now=8.0).is_complete
