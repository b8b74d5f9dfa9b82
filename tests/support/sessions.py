"""One key pair, and sessions that call a server with it."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiosmrt import Credentials, RetryPolicy, Session

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = Credentials("ASIAEXAMPLE", "secret", "token+/=")


def open_session(url: str, **options: Any) -> Session:
    """A session whose calls go to this address, with these keys unless it is told others."""
    given = {"region": "us-east-1", "endpoint_url": url, "credentials": KEYS}
    return Session(**(given | options))


open_once = partial(open_session, retries=RetryPolicy(max_attempts=1))
