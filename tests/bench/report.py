"""Figures of alternating rounds to a table of ratios, and to the one in the README."""

from __future__ import annotations

from statistics import median

import attrs

__all__ = ["Row", "readme_table", "table"]

OURS = "aiosmrt"


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
    """

    where: str
    name: str
    unit: str
    figures: dict[str, list[float]]
    scale: float = 1e6
    rates: dict[str, list[float]] = attrs.field(factory=dict)

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
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def table(rows: list[Row]) -> str:
    """The table in Markdown: our figure, and each peer's as a multiple of it."""
    peers = list(dict.fromkeys(name for row in rows for name in row.figures if name != OURS))
    lines = [
        " | ".join(["", "where", "what", OURS, *peers, ""]),
        " | ".join(["", *["---"] * (3 + len(peers)), ""]),
    ]
    for row in rows:
        own = f"{median(row.figures[OURS]) * row.scale:,.3g} {row.unit}"
        cells = [_cell(row.ratios(peer)) if peer in row.figures else "" for peer in peers]
        lines.append(" | ".join(["", row.where, row.name, own, *cells, ""]))
    return "\n".join(line.strip() for line in lines)


# The README's rows, each by where and what it was measured.
_README = [
    ("http, asyncio", "1 KB, 1 in flight", "1 KB, 1 in flight"),
    ("http, asyncio", "1 KB, 64 in flight", "1 KB, 64 in flight"),
    ("http, asyncio", "1 KB, 512 in flight", "1 KB, 512 in flight"),
    ("tls, asyncio", "1 KB, 64 in flight", "the same over TLS, 64 in flight"),
    ("http, uvloop", "1 KB, 64 in flight", "the same on uvloop, 64 in flight"),
    ("http, asyncio", "stream of tokens, 64 to a chunk", "token-size events, 64 to a chunk"),
    ("http, asyncio", "stream of 64 KiB parts", "64 KiB parts"),
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
    """The README's table: of each row that was measured, medians without their spread."""
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
                f"{_short(median(row.ratios(peer)))} ×" if peer in row.figures else ""
                for peer in peers
            ]
            lines.append(" | ".join(["", label, _time(median(row.figures[OURS])), *cells, ""]))
    return "\n".join(line.strip().replace("  ", " ") for line in lines)


def _time(seconds: float) -> str:
    return f"{_short(seconds * 1e3)} ms" if seconds >= 1e-3 else f"{_short(seconds * 1e6)} µs"


def _short(number: float) -> str:
    return f"{number:.1f}" if number < 10 else f"{number:.0f}"
