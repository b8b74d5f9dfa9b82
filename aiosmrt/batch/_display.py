"""What people see of a run on its way: a bar on a terminal, else a line every ten seconds."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from aiosmrt.batch._statistics import Progress

__all__ = ["show_progress"]

_LINE_SECONDS = 10.0


@contextlib.contextmanager
def show_progress(file: TextIO | None = None) -> Generator[Callable[[Progress], None]]:
    """Gives what `aiosmrt.batch.run` takes as ``progress``.

        with show_progress() as progress:
            await aiosmrt.batch.run(..., progress=progress)

    On a terminal with rich installed it is a bar; elsewhere a line every ten seconds,
    and one at the end.

    Args:
        file: Where to; None is stderr.

    Yields:
        The function.
    """
    stream: TextIO = sys.stderr if file is None else file
    if stream.isatty():
        try:
            import rich.console
        except ImportError:
            pass
        else:
            with _bar(rich.console.Console(file=stream)) as update:
                yield update
            return
    yield _Lines(stream)


@contextlib.contextmanager
def _bar(console: Any) -> Generator[Callable[[Progress], None]]:
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, TaskProgressColumn
    from rich.progress import Progress as Bar

    bar = Bar(BarColumn(bar_width=None), TaskProgressColumn(), console=console, expand=True)
    task = bar.add_task("", total=None)

    # Two lines, as one does not hold both in 80 columns.
    with Live(Group(bar, "reading the input"), console=console, auto_refresh=False) as live:

        def update(progress: Progress) -> None:
            bar.update(task, total=progress.total, completed=progress.done)
            live.update(Group(bar, _figures(progress)), refresh=True)

        yield update


def _figures(progress: Progress) -> str:
    """A line of rich's markup."""
    failed = f"[red]{progress.failed:,} failed[/]" if progress.failed else "0 failed"
    left = f"{_clock(progress.remaining)} left"
    return " · ".join(
        [
            f"{progress.done:,}/{progress.total:,}",
            failed,
            f"{progress.rate:,.0f}/s",
            f"{progress.in_flight}/{progress.concurrency} open",
            f"p50 {_duration(progress.p50)} p99 {_duration(progress.p99)}",
            "[yellow]stopping[/]" if progress.is_stopping else left,
        ]
    )


class _Lines:
    """Prints a line when ten seconds have passed, and when all is done."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._next = _LINE_SECONDS
        self._said: int | None = None

    def __call__(self, progress: Progress) -> None:
        is_done = progress.done == progress.total
        if progress.elapsed < self._next and not is_done:
            return
        if is_done and self._said == progress.done:
            return
        self._said = progress.done
        self._next = progress.elapsed + _LINE_SECONDS
        share = progress.done / progress.total if progress.total else 1.0
        state = "stopping" if progress.is_stopping else f"{_clock(progress.remaining)} left"
        text = (
            f"{share:.1%} {progress.done}/{progress.total} records, {progress.failed} failed, "
            f"{progress.rate:.1f}/s, {progress.in_flight} of {progress.concurrency} at once, "
            f"p50 {_duration(progress.p50)}, p99 {_duration(progress.p99)}, {state}"
        )
        with contextlib.suppress(OSError):  # nobody reads on: no reason to end the work
            print(text, file=self._file, flush=True)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def _clock(seconds: float | None) -> str:
    """Hours, minutes and seconds, as a clock shows them."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
