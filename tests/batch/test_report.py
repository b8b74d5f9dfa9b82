"""The page that a run leaves."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import attrs
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


@pytest.mark.parametrize(
    "changes, figures",
    [
        (
            {"elapsed": 2_000.0, "p50": 0.9994, "p99": 1.0, "largest": 1_234.5},
            {"time": "2,000.0 s", "records a second": "1.0", "latency, median": "999.4 ms"}
            | {"latency, p99": "1.00 s", "latency, longest": "1,234.50 s"},
        ),
        (
            {"elapsed": 0.0, "p50": None, "p99": None, "largest": 0.0, "skipped": 0},
            {"time": "0.0 s", "records a second": "0.0", "latency, median": "–"}
            | {"latency, p99": "–", "latency, longest": "0.0 ms"},
        ),
    ],
)
def test_the_figures_are_those_of_the_summary(tmp_path, changes, figures):
    nothing = Statistics(3_000, 1_000, 9, now=0.0)
    summary = attrs.evolve(nothing.summary(now=0.0), succeeded=1_995, errors={"ModelError": 5})
    summary = attrs.evolve(summary, messages={"ModelError": "no"}, is_complete=True, **changes)
    write_report(tmp_path / "report.html", nothing, summary, "in.jsonl")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = dict(re.findall(r"<dt>(.*?)<dd>(.*?)</div>", text))
    expected = {"records": "2,000 of 3,000", "failed": "5", "requests": "0", **figures}
    assert found == expected | ({"done before": "1,000"} if summary.skipped else {})
    assert "<tr><td>ModelError<td>5<td>no</table>" in text
    assert "can be resumed" not in text


def test_where_it_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"missing/report\.html cannot be written: No such file"):
        write_report(tmp_path / "missing" / "report.html", *run(0), "in.jsonl")


def test_without_matplotlib_it_is_told_before_the_work(monkeypatch):
    require_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"aiosmrt\[report\]"):
        require_matplotlib()
