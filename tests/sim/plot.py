"""Draws the run of 2,000 clients through a minute's outage: `python tests/sim/plot.py`."""

from __future__ import annotations

from pathlib import Path

from clients import jain, simulate
from matplotlib.figure import Figure

CLIENTS, OUTAGE, SECONDS = 2_000, (120, 180), 240


def main() -> None:
    result = simulate(
        clients=CLIENTS, capacity=4 * CLIENTS, service=2.0, seconds=SECONDS, outage=OUTAGE
    )
    figure = Figure(figsize=(9, 9), layout="constrained")
    flow, limits, shares = figure.subplots(3, 1)
    seconds = range(SECONDS + 1)
    flow.stairs(result.attempts, seconds, color="#ea580c", label="requests")
    flow.stairs(result.answered, seconds, color="#2563eb", label="answers")
    flow.axhline(result.capacity, color="#6b7280", linestyle="--", label="capacity")
    flow.set(
        title=f"{CLIENTS:,} clients, out from {OUTAGE[0]} to {OUTAGE[1]} s; goodput "
        f"{result.goodput(30, OUTAGE[0]):.3f} before, {result.goodput(195, SECONDS):.3f} after",
        ylabel="a second",
    )
    limits.stairs(result.allowed, seconds, color="#2563eb", label="limits of all clients")
    limits.axhline(4 * CLIENTS, color="#6b7280", linestyle="--", label="places of the endpoint")
    limits.set(title="Calls in flight that the clients allow themselves", xlabel="seconds")
    shares.hist(result.by_client, bins=60, color="#2563eb")
    fairness = jain(result.by_client)
    shares.set(
        title=f"Answers a client behind the first minute; Jain's index {fairness:.3f}",
        xlabel="answers",
        ylabel="clients",
    )
    flow.legend()
    limits.legend()
    for axes in (flow, limits, shares):
        axes.grid(alpha=0.3)
        axes.set_ylim(0)
    figure.savefig(Path(__file__).with_name("clients.png"), dpi=100)


if __name__ == "__main__":
    main()
