"""Credentials and where they come from."""

from __future__ import annotations

from datetime import datetime

import attrs

__all__ = ["Credentials"]


@attrs.frozen
class Credentials:
    """An access key, its secret and, for temporary ones, their token and end.

    Attributes:
        access_key_id: The access key's id; not a secret.
        secret_access_key: The secret; never in ``repr``.
        session_token: The session token of temporary credentials, else None; never in ``repr``.
        expiry: When they end, timezone-aware; None for those that do not.
    """

    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)
    expiry: datetime | None = None
