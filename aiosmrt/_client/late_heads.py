"""The head writer of a session, imported when the first signature is due."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmrt._protocol.request_head import HeadWriter
    from aiosmrt._threads import Threads

__all__ = ["LateHeads"]


class LateHeads:
    """A session's `HeadWriter`, which a thread imports while the first connection is made.

    The writer's signer brings `requests`, whose import takes longer than that of all of our
    own modules. A session that makes no call never imports it.

    Args:
        make: Imports and makes the writer; it may block.
        threads: The session's.

    Attributes:
        writer: The writer; None until ``make`` has returned one.
    """

    def __init__(self, make: Callable[[], HeadWriter], threads: Threads) -> None:
        self.writer: HeadWriter | None = None
        self._make = make
        self._threads = threads
        self._making: asyncio.Future[HeadWriter] | None = None

    def begin(self) -> asyncio.Future[HeadWriter]:
        """Begins to make the writer, unless that is under way in this event loop.

        Returns:
            A future that all calls share: wait for it by `get`.
        """
        loop = asyncio.get_running_loop()
        if self._making is None or self._making.get_loop() is not loop:
            self._making = self._threads.run(self._set_writer)
            self._making.add_done_callback(_retrieve)
        return self._making

    async def get(self) -> HeadWriter:
        """Waits for the writer; cancelling that does not end the import, which others need.

        Returns:
            The writer.

        Raises:
            Exception: The import failed; the next call tries it again.
        """
        making = self.begin()
        await asyncio.wait([making])
        if making.exception() is not None and self._making is making:
            self._making = None
        return making.result()

    def _set_writer(self) -> HeadWriter:
        writer = self.writer = self._make()
        return writer


def _retrieve(making: asyncio.Future[HeadWriter]) -> None:
    """Takes note of a failed import that no call has waited for."""
    if not making.cancelled():
        making.exception()
