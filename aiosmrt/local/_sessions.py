"""Stateful sessions: which model opened which, and until when."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from aiosmrt.local._refusals import session_not_found

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StatefulSessions"]

# As many are kept, the oldest given up first: the server's memory is bounded.
_MAX_SESSIONS = 100_000

_Owner = TypeVar("_Owner")


@attrs.frozen
class _Session(Generic[_Owner]):
    expires: datetime
    owner: _Owner


class StatefulSessions(Generic[_Owner]):
    """The sessions of one endpoint.

    The model opens and closes them by headers of its answers; here is only what routes.
    Until a model has opened one, session ids are the model's own business and are
    passed on unread; from then on, an id that no model opened is unknown.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, _Session[_Owner]] = OrderedDict()
        self._in_use = False

    def note(self, opened: str | None, closed: str | None, owner: _Owner) -> None:
        """Reads what an answer says of sessions; the owner, who gave it, gets further requests.

        A header opens a session, ``ID; Expires=2026-01-02T03:04:05Z``, and its id closes it.
        """
        if opened is not None:
            session_id, _, attribute = opened.partition(";")
            self._in_use = True
            self._sessions[session_id.strip()] = _Session(_expiry(attribute), owner)
            if len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
        if closed is not None:
            self._sessions.pop(closed, None)

    def owner(self, session_id: str) -> _Owner | None:
        """Who gets a session's request; None where any may get it, as with ``NEW_SESSION``.

        Raises:
            Refusal: It was closed, has expired, or was never opened.
        """
        if session_id == "NEW_SESSION" or not self._in_use:
            return None
        session = self._sessions.get(session_id)
        if session is None:
            raise session_not_found(session_id)
        if session.expires <= self._clock():
            del self._sessions[session_id]
            raise session_not_found(session_id)
        return session.owner


def _expiry(attribute: str) -> datetime:
    """When a session ends by its ``Expires=`` attribute; never, where that makes no sense."""
    try:
        return datetime.strptime(attribute.strip(), "Expires=%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return datetime.max.replace(tzinfo=timezone.utc)
