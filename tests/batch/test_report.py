"""The page that a run leaves."""

from __future__ import annotations

import sys
from html.parser import HTMLParser

import pytest

from aiosmrt import ConfigurationError, ModelError
from aiosmrt.batch import OutputError
from aiosmrt.batch._report import require_matplotlib, write_report
from aiosmrt.batch._statistics import Statistics


def run(seconds):
    statistics = Statistics(1_000, 0, 0, now=0.0)
    for second in range(seconds):
        for number in range(5):
            errors = [ModelError("out of <memory>")] if number == 4 else [None]
            statistics.add(
                errors, attempts=1, latency=0.01 * (number + 1), concurrency=8, now=second + 0.5
            )
    return statistics, statistics.summary(now=seconds + 0.25)


@pytest.mark.parametrize("seconds", [0, 1, 30, 2_000])
def test_a_page_holds_all_it_needs(tmp_path, seconds):
    path = tmp_path / "report.html"
    write_report(path, *run(seconds), "<in>.jsonl")
    text = path.read_text(encoding="utf-8")
    HTMLParser().feed(text)
    assert "Batch inference of &lt;in&gt;.jsonl" in text
    assert f"{5 * seconds:,} of 1,000" in text
    assert ("<svg" in text) == (seconds > 0)
    assert ("ModelError<td>" in text and "out of &lt;memory&gt;" in text) == (seconds > 0)
    assert "<script" not in text
    assert "can be resumed" in text


def test_where_it_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="report"):
        write_report(tmp_path / "missing" / "report.html", *run(0), "in.jsonl")


def test_without_matplotlib_it_is_told_before_the_work(monkeypatch):
    require_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"aiosmrt\[report\]"):
        require_matplotlib()
