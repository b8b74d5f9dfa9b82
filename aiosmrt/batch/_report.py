"""The page that a run leaves: its figures, and how they went over time."""

from __future__ import annotations

import html
import io
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from aiosmrt.batch._output import OutputError
from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from aiosmrt.batch._statistics import BatchSummary, Statistics

__all__ = ["require_matplotlib", "write_report"]

_BLUE, _RED, _ORANGE, _GREY = "#2563eb", "#dc2626", "#ea580c", "#6b7280"

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #111827; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.4rem }}
dl {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem }}
dl div {{ border: 1px solid #e5e7eb; border-radius: .5rem; padding: .5rem .75rem }}
dt {{ color: #6b7280; font-size: .85rem }}
dd {{ margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums }}
table {{ border-spacing: 0; margin-bottom: 1rem }}
th {{ color: #6b7280; font-size: .85rem; font-weight: normal; text-align: left }}
td, th {{ padding-right: 2rem; vertical-align: top }}
td {{ font-variant-numeric: tabular-nums }}
td:last-child {{ overflow-wrap: anywhere }}
svg {{ width: 100%; height: auto }}
</style>
<h1>{title}</h1>
{notice}
<dl>{figures}</dl>
{errors}
{plots}
</html>
"""


def require_matplotlib() -> None:
    """Raises ConfigurationError where there is no matplotlib: before the work, not after."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise ConfigurationError(
            "A report needs matplotlib: pip install 'aiosmrt[report]'"
        ) from None
    del mpl


def write_report(path: Path, statistics: Statistics, summary: BatchSummary, name: str) -> None:
    """Writes one HTML page that needs nothing beside it, with the input's name.

    Raises:
        OutputError: It cannot be written.
    """
    done = summary.succeeded + sum(summary.errors.values())
    figures = {
        "records": f"{done:,} of {summary.total:,}",
        "failed": f"{sum(summary.errors.values()):,}",
        "requests": f"{summary.requests:,}",
        "time": f"{summary.elapsed:,.1f} s",
        "records a second": f"{done / summary.elapsed if summary.elapsed else 0:,.1f}",
        "latency, median": _seconds(summary.p50),
        "latency, p99": _seconds(summary.p99),
        "latency, longest": _seconds(summary.largest),
    }
    if summary.skipped:
        figures["done before"] = f"{summary.skipped:,}"
    errors = "".join(
        f"\n<tr><td>{html.escape(kind)}<td>{count:,}<td>{html.escape(summary.messages[kind])}"
        for kind, count in sorted(summary.errors.items())
    )
    if errors:
        errors = f"<table><tr><th>error<th>records<th>the first said{errors}</table>"
    notice = "" if summary.is_complete else "<p>Stopped before the end; it can be resumed."
    page = _PAGE.format(
        title=f"Batch inference of {html.escape(name)}",
        notice=notice,
        figures="".join(f"<div><dt>{key}<dd>{value}</div>" for key, value in figures.items()),
        errors=errors,
        plots=_plots(statistics, summary.elapsed) if statistics.intervals else "",
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(path, error) from error


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.2f} s"


def _plots(statistics: Statistics, elapsed: float) -> str:
    """The plots as one SVG."""
    # Not pyplot, which would choose a display and keep the figure.
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    figure: Any = Figure(figsize=(10, 11), layout="constrained")
    throughput, latency, concurrency, spread = figure.subplots(4, 1)
    width = statistics.width
    intervals = statistics.intervals
    times = [number * width for number in range(len(intervals) + 1)]
    # The last interval is seldom a whole one.
    times[-1] = min(times[-1], max(elapsed, times[-2] + width / 100))
    widths = [end - begin for begin, end in pairwise(times)]
    legend: dict[str, Any] = {
        "loc": "lower right",
        "bbox_to_anchor": (1, 1),
        "ncols": 2,
        "frameon": False,
    }

    succeeded = [each.succeeded / length for each, length in zip(intervals, widths, strict=True)]
    failed = [each.failed / length for each, length in zip(intervals, widths, strict=True)]
    throughput.stairs(succeeded, times, color=_BLUE, fill=True, alpha=0.25)
    throughput.stairs(succeeded, times, color=_BLUE, label="succeeded")
    throughput.stairs(failed, times, color=_RED, label="failed")
    throughput.set(title="Throughput", ylabel="records / s", ylim=(0, None))
    throughput.legend(**legend)

    for share, color, label in ((0.5, _BLUE, "median"), (0.99, _ORANGE, "p99")):
        quantiles = [interval.latencies.quantile(share) for interval in intervals]
        values = [float("nan") if value is None else value for value in quantiles]
        latency.stairs(values, times, color=color, label=label, baseline=None)
    latency.set(title="Latency of a request", ylabel="seconds", ylim=(0, None))
    latency.legend(**legend)

    allowed = [interval.concurrency for interval in intervals]
    concurrency.stairs(allowed, times, color=_GREY, baseline=None)
    concurrency.set(title="Requests at once", xlabel="seconds since the beginning", ylim=(0, None))

    counted = list(statistics.latencies())
    if counted:
        edges = [middle for middle, _ in counted]
        spread.bar(
            edges, [count for _, count in counted], [edge * 0.045 for edge in edges], color=_BLUE
        )
    spread.set(title="Latencies", xlabel="seconds", ylabel="requests", xscale="log")
    spread.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    spread.xaxis.set_major_formatter("{x:g}")  # no powers of ten
    spread.xaxis.set_minor_locator(NullLocator())
    for axes in (concurrency, spread):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (throughput, latency, concurrency):
        axes.set_xlim(0, times[-1])
    for axes in (throughput, latency, concurrency, spread):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    drawing = io.StringIO()
    figure.savefig(drawing, format="svg")
    text = drawing.getvalue()
    return text[text.index("<svg") :]
