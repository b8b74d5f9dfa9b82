"""Figures of alternating rounds to a table of ratios."""

from __future__ import annotations

from statistics import median

import attrs

__all__ = ["Row", "table"]

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
