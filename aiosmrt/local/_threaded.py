"""A local endpoint on an event loop of its own, for code that has none, or that blocks it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Protocol

__all__ = ["BackgroundThread"]


class _Server(Protocol):
    async def start(self) -> None: ...

    async def aclose(self) -> None: ...


class BackgroundThread:
    """Runs a server in a thread, from ``start`` to ``stop``."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._thread = threading.Thread(target=self._run, name="aiosmrt-local", daemon=True)
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._stopped: Future[None] = Future()
        self._stop = asyncio.Event()

    def start(self) -> None:
        """Returns once the server has started.

        Raises:
            OSError: The address cannot be listened on.
            ConfigurationError: It was started before.
        """
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Returns once the server has closed."""
        self._started.result().call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._stopped.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            waiting = self._stopped if self._started.done() else self._started
            waiting.set_exception(error)
        else:
            self._stopped.set_result(None)

    async def _serve(self) -> None:
        await self._server.start()
        self._started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        await self._server.aclose()
