"""Fixtures for testing one's own code against a local endpoint; pytest finds them by itself.

    async def test_my_code(sagemaker_local, sagemaker_session):
        sagemaker_local.add_model("my-endpoint", my_model)
        assert await my_code(sagemaker_session) == "the answer"

``sagemaker_local`` is a `aiosmrt.local.LocalEndpoint`, a fresh one for each test. It runs in a
thread of its own: so it serves blocking clients (boto3) as well, and asks nothing of the plugin
that runs async tests, be it pytest-asyncio, anyio's or aiohttp's. Models run in that thread.

``sagemaker_session`` is an `aiosmrt.Session` that calls it, closed when the test function has
returned; for async tests.

``sagemaker_local_options`` is what the endpoint is made with: a fixture of that name of your own
returns a dict of `LocalEndpoint`'s keyword arguments.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from aiosmrt._client.session import Session
    from aiosmrt.local._endpoint import LocalEndpoint

__all__ = ["sagemaker_local", "sagemaker_local_options", "sagemaker_session"]


@pytest.fixture
def sagemaker_local_options() -> dict[str, Any]:
    """Keyword arguments for ``sagemaker_local``; override it with your own."""
    return {}


@pytest.fixture
def sagemaker_local(sagemaker_local_options: dict[str, Any]) -> Iterator[LocalEndpoint]:
    """A local SageMaker Runtime, for any AWS SDK: ``sagemaker_local.add_model(name, handler)``."""
    # Here and not above: every pytest run loads this module, few use it.
    from aiosmrt.local._endpoint import LocalEndpoint

    with LocalEndpoint(**sagemaker_local_options) as endpoint:
        yield endpoint


@pytest.fixture
def sagemaker_session(sagemaker_local: LocalEndpoint) -> Session:
    """An aiosmrt.Session that calls ``sagemaker_local``, closed when the test has returned."""
    return sagemaker_local.session()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Closes the session in the test's own event loop, whichever plugin runs it.

    A fixture could not: each of those plugins wants async fixtures declared in its own way.
    """
    session = getattr(item, "funcargs", {}).get("sagemaker_session")
    test = item.obj if isinstance(item, pytest.Function) else None
    if session is None or not inspect.iscoroutinefunction(test):
        yield
        return

    @functools.wraps(test)
    async def closing(*args: Any, **keywords: Any) -> None:
        async with session:
            await test(*args, **keywords)

    with pytest.MonkeyPatch.context() as patch:  # a test that is run again has another session
        patch.setattr(item, "obj", closing)
        yield
