"""Makes tables of the figures of alternating rounds: of ratios, and of paced streams."""

from __future__ import annotations

from statistics import median

import attrs

__all__ = ["OURS", "PACED", "Paced", "Row", "factors", "paced_table", "readme_table", "table"]

OURS = "aiosmrt"
# What the streams are called whose events come one by one.
PACED = "one event per segment"
# A median stands alone when its least and most are no further apart than this share of it.
_STEADY = 0.1


@attrs.frozen(kw_only=True)
class Row:
    """What was measured of one kind of work.

    Attributes:
        where: Loop and scheme, or what else it belongs to.
        name: The kind of work.
        unit: What a figure is for one of.
        figures: By client, a figure for each round; rounds of one number ran side by side.
        scale: From a figure to what ``unit`` is printed in.
        rates: By client, units a second of wall-clock time.
        mark: What makes the figures doubtful, if anything does.
    """

    where: str
    name: str
    unit: str
    figures: dict[str, list[float]]
    scale: float = 1e6
    rates: dict[str, list[float]] = attrs.field(factory=dict)
    mark: str = ""

    def ratios(self, client: str) -> list[float]:
        """The client's figure over ours, round by round: what slows both falls out."""
        ours = self.figures[OURS]
        return [theirs / our for theirs, our in zip(self.figures[client], ours, strict=True)]

    def as_json(self) -> dict[str, object]:
        facts = attrs.asdict(self)
        facts["ratios"] = {
            client: {"median": median(found), "least": min(found), "most": max(found)}
            for client in self.figures
            if client != OURS
            for found in [self.ratios(client)]
        }
        return facts


def _cell(ratios: list[float]) -> str:
    return f"{median(ratios):,.3g} ({min(ratios):,.3g}–{max(ratios):,.3g})"


def _spread(figures: list[float]) -> str:
    """The median, with the least and the most where they lie apart."""
    middle, least, most = map(_short, (median(figures), min(figures), max(figures)))
    steady = max(figures) - min(figures) <= _STEADY * median(figures)
    return middle if steady or least == most else f"{middle} ({least}–{most})"


def factors(row: Row) -> str:
    """Says how far apart each client's own figures are, and the most over the least."""
    found = [
        f"{client} {min(scaled):.3g}–{max(scaled):.3g} ({max(scaled) / min(scaled):.2f} ×)"
        for client, figures in row.figures.items()
        for scaled in [[figure * row.scale for figure in figures]]
    ]
    return f"{row.name}, {row.unit}, least–most: {', '.join(found)}"


def table(rows: list[Row]) -> str:
    """The table in Markdown: our figure, and each peer's as a multiple of it."""
    peers = list(dict.fromkeys(name for row in rows for name in row.figures if name != OURS))
    lines = [
        " | ".join(["", "where", "what", OURS, *peers, ""]),
        " | ".join(["", *["---"] * (3 + len(peers)), ""]),
    ]
    for row in rows:
        own = f"{_cell([figure * row.scale for figure in row.figures[OURS]])} {row.unit}"
        cells = [_cell(row.ratios(peer)) if peer in row.figures else "" for peer in peers]
        name = f"{row.name} ({row.mark})" if row.mark else row.name
        lines.append(" | ".join(["", row.where, name, own, *cells, ""]))
    return "\n".join(line.strip() for line in lines)


# The README's rows, each by where and what it was measured.
_README = [
    ("http, asyncio", "1 KB, 1 in flight", "1 KB, 1 in flight"),
    ("http, asyncio", "1 KB, 64 in flight", "1 KB, 64 in flight"),
    ("http, asyncio", "1 KB, 512 in flight", "1 KB, 512 in flight"),
    ("tls, asyncio", "1 KB, 64 in flight", "the same over TLS, 64 in flight"),
    ("http, uvloop", "1 KB, 64 in flight", "the same on uvloop, 64 in flight"),
    ("http, asyncio", "stream of tokens, 64 to a chunk", "token-size events, 64 to a chunk"),
    ("http, asyncio", f"{PACED}, 200 streams of 50/s", "an event in a segment of its own"),
    ("http, uvloop", f"{PACED}, 200 streams of 50/s", "the same on uvloop"),
    ("http, asyncio", f"{PACED}, 1,000 streams of 30/s", "the same, 1,000 streams of 30/s"),
    (
        "http, asyncio",
        f"{PACED}, 1,000 streams of 30/s, added at p99",
        "latency added to an event there, at p99",
    ),
    ("http, asyncio", "stream of 64 KiB parts", "64 KiB parts"),
    (
        "start",
        "64 MiB in 64 KiB parts, 10 fresh processes",
        "64 MiB of them in fresh processes, wall time",
    ),
    ("http, asyncio", "short streams, 64 in flight", "streams of 16 events, 64 in flight"),
    ("http, asyncio", "5 MB sent", "5 MB sent"),
    ("start", "import", "`import`"),
    ("start", "first call of a fresh process", "first call of a fresh process"),
]
_PEERS = {
    "aiohttp": "aiohttp, bare and unsigned",
    "aiobotocore": "aiobotocore",
    "capo": "capo",
    "boto3": "boto3 in threads",
}


def readme_table(rows: list[Row]) -> str:
    """The README's table: medians of each row that was measured, with the spread if they vary."""
    measured = {(row.where, row.name): row for row in rows}
    peers = [peer for peer in _PEERS if any(peer in row.figures for row in rows)]
    lines = [
        " | ".join(["", "", OURS, *map(_PEERS.__getitem__, peers), ""]),
        "|".join(["", *["---"] * (2 + len(peers)), ""]),
    ]
    for where, name, label in _README:
        row = measured.get((where, name))
        if row is not None:
            cells = [
                f"{_spread(row.ratios(peer))} ×" if peer in row.figures else "" for peer in peers
            ]
            own = _time(row.figures[OURS])
            marked = f"{label} ({row.mark})" if row.mark else label
            lines.append(" | ".join(["", marked, own, *cells, ""]))
    return "\n".join(line.strip().replace("  ", " ") for line in lines)


def _time(seconds: list[float]) -> str:
    factor, unit = (1e3, "ms") if median(seconds) >= 1e-3 else (1e6, "µs")
    return f"{_spread([figure * factor for figure in seconds])} {unit}"


def _short(number: float) -> str:
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 10 else f"{number:,.0f}"


# Past this the server's events came in heaps that their rate does not have.
_LATE = 0.001
# Of a report's figures: the key, what the table calls it, and the factor to what it prints.
_COLUMNS = [
    ("cpu", "µs CPU an event", 1e6),
    ("latency_p50", "added ms, p50", 1e3),
    ("latency_p99", "added ms, p99", 1e3),
    ("lag_p99", "loop's lag ms, p99", 1e3),
    ("memory", "KiB a stream", 1 / 1024),
    ("late", "server late ms, p99", 1e3),
]


@attrs.frozen(kw_only=True)
class Paced:
    """What was measured of streams whose events come one by one at a rate.

    Attributes:
        where: Scheme and loop.
        name: How many streams, and their rate.
        reports: By reader, the figures of each round.
        plain: The readers that hand out payloads alone.
    """

    where: str
    name: str
    reports: dict[str, list[dict[str, float]]]
    plain: list[str]

    def figures(self, reader: str, key: str) -> list[float]:
        return [report[key] for report in self.reports[reader]]

    def late(self, reader: str) -> int:
        """The rounds in which the server itself was late."""
        return sum(late > _LATE for late in self.figures(reader, "late"))

    def rows(self) -> list[Row]:
        """The CPU time and the latency for the table of all work, of payloads alone."""
        return [
            Row(
                where=self.where,
                name=self.name + what,
                unit=unit,
                figures={reader: self.figures(reader, key) for reader in self.plain},
                scale=scale,
                mark="server late" if any(map(self.late, self.plain)) else "",
            )
            for what, key, unit, scale in (
                ("", "cpu", "µs CPU an event", 1e6),
                (", added at p99", "latency_p99", "ms", 1e3),
            )
        ]


def paced_table(found: list[Paced]) -> str:
    """In Markdown: each reader's own figures, and its CPU time as a multiple of ours."""
    heads = ["where", "what", "who", *[head for _, head, _ in _COLUMNS], "CPU, of ours"]
    lines = [" | ".join(["", *heads, ""]), " | ".join(["", *["---"] * len(heads), ""])]
    for paced in found:
        ours = paced.figures(OURS, "cpu")
        for reader in paced.reports:
            cells = [
                _spread([figure * factor for figure in paced.figures(reader, key)])
                for key, _, factor in _COLUMNS
            ]
            if late := paced.late(reader):
                cells[-1] += f", late in {late} of {len(ours)} rounds"
            theirs = paced.figures(reader, "cpu")
            cells.append(_spread([their / our for their, our in zip(theirs, ours, strict=True)]))
            lines.append(" | ".join(["", paced.where, paced.name, reader, *cells, ""]))
    return "\n".join(line.strip() for line in lines)
