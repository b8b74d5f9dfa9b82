"""Dates of HTTP headers: what is a date, and which second each of them is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt._protocol.http_dates import parse_http_date

SECONDS = 784_111_777.0  # RFC 9110's example, Sun, 06 Nov 1994 08:49:37 GMT


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/Los_Angeles", "Pacific/Kiritimati"])
def _machine_zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 -0000",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 17:49:37 +0900",
        "06 Nov 1994 08:49:37 UTC",
    ],
)
@pytest.mark.usefixtures("_machine_zone")
def test_a_date_is_the_same_second_in_every_zone_of_this_machine(text):
    assert parse_http_date(text) == SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Sun, 06 Nov 1994 08:49:37 +99999999999999999999",
        "x" * 8_000,
    ],
    ids=lambda text: text[:40],
)
def test_no_date(text):
    assert parse_http_date(text) is None


@given(st.text() | st.text("SunNov, 0123456789:-+GMT"))
def test_no_text_is_an_error(text):
    seconds = parse_http_date(text)
    assert seconds is None or time.gmtime(seconds).tm_year <= 9999
