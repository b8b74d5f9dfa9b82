"""The dates of HTTP headers (RFC 9110, section 5.6.7) as seconds."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime

__all__ = ["parse_http_date"]


def parse_http_date(text: str) -> float | None:
    """Returns the seconds since the epoch of a ``Date`` header, or of another such header.

    Args:
        text: The header's value. A date without a zone, or with ``-0000``, is UTC: this
            machine's own zone says nothing about the sender's clock.

    Returns:
        The seconds; None for a text that is not a date, or not one of the years 1 to 9999.
    """
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return date.astimezone(timezone.utc).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
