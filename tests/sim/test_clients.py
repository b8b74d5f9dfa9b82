"""Independent clients share an endpoint, use it and let it come back: see `sim.clients`.

`python tests/sim/plot.py` draws the largest of these runs into `tests/sim/clients.png`.
"""

from __future__ import annotations

import pytest
from sim.clients import jain, simulate

SIZES = [
    pytest.param(60, id="60 clients"),
    pytest.param(2_000, id="2000 clients", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("clients", SIZES)
def test_clients_use_and_share_an_endpoint_and_survive_its_outage(clients):
    result = simulate(
        clients=clients, capacity=4 * clients, service=2.0, seconds=240, outage=(120, 180)
    )
    assert result.goodput(30, 120) > 0.9
    assert jain(result.by_client) > 0.9
    # A minute of refusals: after the first second a few probes, no storm.
    assert max(result.attempts[130:180]) < clients
    # And when it is back it is used again soon, not overrun.
    assert result.goodput(195, 240) > 0.9
    before = sum(result.attempts[90:120]) / 30
    for second in range(180, 230):
        assert sum(result.attempts[second : second + 10]) / 10 < 2 * before


@pytest.mark.parametrize("calls_each", [1, 4, 16])
def test_whatever_the_fair_share_is_it_is_had(calls_each):
    result = simulate(clients=50, capacity=50 * calls_each, service=1.0, seconds=120)
    assert result.goodput(30, 120) > 0.9
    assert jain(result.by_client) > 0.9


def test_half_the_capacity_is_given_way_to_within_seconds():
    result = simulate(clients=1, capacity=64, service=0.2, seconds=90, halved_at=45)
    assert 40 < result.allowed[44] < 80
    assert result.allowed[48] < 40
    assert result.goodput(20, 45) > 0.8
    assert result.goodput(50, 90) > 0.8 / 2


def test_one_client_finds_the_capacity():
    for capacity in (8, 16, 64):
        result = simulate(clients=1, capacity=capacity, service=0.5, seconds=90)
        assert result.goodput(20, 90) > 0.85
        assert sum(result.failed) < 0.01 * sum(result.answered)


@pytest.mark.parametrize("capacity, service", [(4, 0.1), (16, 0.1), (32, 1.0)])
def test_where_requests_queue_no_more_wait_than_are_worked_on(capacity, service):
    result = simulate(clients=1, capacity=capacity, service=service, seconds=120, queues=True)
    assert result.goodput(20, 120) > 0.9
    assert max(result.allowed[60:]) < 6 * capacity
    assert sum(result.allowed[60:]) / 60 < 4.5 * capacity


def test_where_requests_queue_half_the_capacity_is_given_way_to():
    result = simulate(clients=1, capacity=16, service=0.1, seconds=120, queues=True, halved_at=60)
    before, after = sum(result.allowed[40:60]) / 20, sum(result.allowed[64:84]) / 20
    assert after < 0.7 * before
    assert result.goodput(64, 120) > 0.9 / 2


@pytest.mark.parametrize("service", [0.05, 0.2])
def test_one_throttle_in_a_hundred_says_nothing_of_capacity(service):
    result = simulate(
        clients=1, capacity=16, service=service, seconds=60, queues=True, throttled=0.01
    )
    assert result.goodput(20, 60) > 0.9
    assert min(result.allowed[20:]) >= 16
    assert max(result.allowed[20:]) < 6 * 16


def test_a_model_that_becomes_slower_is_not_taken_for_a_queue():
    result = simulate(clients=1, capacity=16, service=0.1, seconds=120, queues=True, slower_at=60)
    assert result.goodput(75, 120) > 0.9 / 3


@pytest.mark.parametrize("spread", [0.5, 1.0, 1.5])
def test_answers_of_all_lengths_are_not_taken_for_a_queue(spread):
    result = simulate(clients=1, capacity=100, service=0.5, seconds=150, queues=True, spread=spread)
    assert sum(result.allowed[30:]) / 120 > 80
    result = simulate(clients=1, capacity=16, service=0.5, seconds=150, queues=True, spread=spread)
    assert result.goodput(30, 150) > 0.85
    assert sum(result.allowed[30:]) / 120 < 4.5 * 16
