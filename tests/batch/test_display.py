"""What people see: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re
import sys
import threading

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


def seen(file: io.StringIO) -> str:
    """What a terminal shows, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def test_lines_come_every_ten_seconds_and_at_the_end():
    file = io.StringIO()
    shown = []
    with show_progress(file) as show:
        for elapsed in (0.0, 9.9, 10.0, 12.5, 19.9, 21.0, 30.9):
            show(attrs.evolve(AMID, elapsed=elapsed))
            shown.append(len(file.getvalue().splitlines()))
        show(attrs.evolve(AMID, done=1_000, elapsed=30.95, remaining=0.0))
        show(attrs.evolve(AMID, done=1_000, elapsed=31.0, remaining=0.0))
    assert shown == [0, 0, 1, 1, 1, 2, 2]
    first, second, last = file.getvalue().splitlines()
    assert first == second
    assert first == (
        "25.0% 250/1000 records, 3 failed, 25.0/s, 63 of 64 at once, p50 31ms, p99 2.5s, "
        "1:01:40 left"
    )
    assert last.startswith("100.0% 1000/1000")


@pytest.mark.parametrize("total", [1, 2])
def test_an_input_of_few_records_has_its_line(total):
    file = io.StringIO()
    with show_progress(file) as show:
        show(attrs.evolve(BEFORE, total=total, done=total))
    assert file.getvalue().startswith(f"100.0% {total}/{total} ")


@pytest.mark.parametrize(
    "seconds, told",
    [(None, "–"), (0.0314, "31ms"), (0.999, "999ms"), (1.0, "1.0s"), (2.54, "2.5s")],
)
def test_a_latency_is_told_in_seconds_from_one_second_on(seconds, told):
    file = io.StringIO()
    with show_progress(file) as show:
        show(attrs.evolve(AMID, elapsed=10.0, p50=seconds, remaining=None))
    assert f" p50 {told}, p99 2.5s, – left\n" in file.getvalue()


def test_without_a_file_it_is_for_stderr_and_told_at_once(capsys, tmp_path):
    with show_progress() as show:
        show(attrs.evolve(AMID, elapsed=10.0))
        out, err = capsys.readouterr()
    assert (out, err[:5]) == ("", "25.0%")
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as file, show_progress(file) as show:
        show(attrs.evolve(AMID, elapsed=10.0))
        assert path.read_text(encoding="utf-8").startswith("25.0%")


def test_where_nobody_reads_on_the_work_goes_on():
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with show_progress(Broken()) as show:
        show(attrs.evolve(AMID, elapsed=10.0))


def test_a_terminal_without_rich_has_lines(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    file = Terminal()
    with show_progress(file) as show:
        show(attrs.evolve(AMID, elapsed=10.0))
    assert file.getvalue().startswith("25.0% 250/1000 records")


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
        (BEFORE, ["0/1,000", "0 failed", "0%", "p50 – p99 –", "– left"]),
        (AMID, ["250/1,000", "3 failed", "25%", "63/64 open", "p50 31ms", "1:01:40 left"]),
        (attrs.evolve(AMID, is_stopping=True), ["stopping"]),
    ],
)
def test_a_terminal_has_a_bar(monkeypatch, progress, words):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    file = Terminal()
    threads = threading.active_count()
    with show_progress(file) as show:
        assert "reading the input" in seen(file)
        show(progress)
        text = seen(file)
        assert threading.active_count() == threads
    assert "━" * 80 in text
    for word in words:
        assert word in text
