"""What people see: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re

import attrs
import pytest

from aiosmrt.batch import Progress, show_progress

BEFORE = Progress(
    total=1_000,
    done=0,
    failed=0,
    rate=0.0,
    concurrency=64,
    in_flight=0,
    p50=None,
    p99=None,
    elapsed=0.0,
    remaining=None,
    is_stopping=False,
)
AMID = attrs.evolve(
    BEFORE, done=250, failed=3, rate=25.0, in_flight=63, p50=0.031, p99=2.5, remaining=3700.0
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_every_ten_seconds_and_at_the_end():
    file = io.StringIO()
    with show_progress(file) as show:
        for quarter in range(101):
            show(attrs.evolve(AMID, elapsed=quarter / 4))
        show(attrs.evolve(AMID, done=1_000, elapsed=26.0, remaining=0.0))
        show(attrs.evolve(AMID, done=1_000, elapsed=26.1, remaining=0.0))
    first, second, last = file.getvalue().splitlines()
    assert first == second
    assert first == (
        "25.0% 250/1000 records, 3 failed, 25.0/s, 63 of 64 at once, p50 31ms, p99 2.5s, "
        "1:01:40 left"
    )
    assert last.startswith("100.0% 1000/1000")


def test_a_line_tells_that_the_run_is_stopping():
    file = io.StringIO()
    with show_progress(file) as show:
        show(attrs.evolve(BEFORE, elapsed=11.0, is_stopping=True))
    assert file.getvalue().endswith("p50 –, p99 –, stopping\n")


def test_an_empty_input_is_done():
    file = io.StringIO()
    with show_progress(file) as show:
        show(attrs.evolve(BEFORE, total=0))
    assert file.getvalue().startswith("100.0% 0/0")


@pytest.mark.parametrize(
    "progress, words",
    [
        (BEFORE, ["0/1,000", "0 failed", "0%"]),
        (AMID, ["250/1,000", "3 failed", "25%", "63/64 open", "p50 31ms", "1:01:40 left"]),
        (attrs.evolve(AMID, is_stopping=True), ["stopping"]),
    ],
)
def test_a_terminal_has_a_bar(monkeypatch, progress, words):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    file = Terminal()
    with show_progress(file) as show:
        show(progress)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "━" in text
    for word in words:
        assert word in text
