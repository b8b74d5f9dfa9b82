"""The fixtures, in pytest runs of their own, with each of the plugins that run async tests."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

MODEL = """
    import asyncio
    import pytest
    import aiosmrt
    from aiosmrt.local import LocalEndpoint

    async def model(request):
        return request.body.upper()

    async def call(session):
        return (await session.invoke_endpoint("e", b"abc")).body
"""

ASYNC_TESTS = """
    {marker}
    async def test_one(sagemaker_local, sagemaker_session):
        sagemaker_local.add_model("e", model)
        assert await call(sagemaker_session) == b"ABC"
        test_one.session = sagemaker_session

    {marker}
    async def test_the_session_was_closed():
        with pytest.raises(aiosmrt.TransportError, match="^The session is closed: "):
            await call(test_one.session)

    class TestMethods:
        {marker}
        async def test_two(self, sagemaker_session, sagemaker_local):
            assert isinstance(sagemaker_local, LocalEndpoint)
            sagemaker_local.add_model("e", model)
            assert await asyncio.gather(*[call(sagemaker_session)] * 1) == [b"ABC"]
"""

BLOCKING_TESTS = """
    import boto3

    @pytest.fixture
    def sagemaker_local_options():
        return {"verify": False}

    def test_boto3(sagemaker_local):
        sagemaker_local.add_model("e", model)
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=sagemaker_local.url,
            region_name=sagemaker_local.region,
            aws_access_key_id="anyone",
            aws_secret_access_key="anything",
        )
        assert client.invoke_endpoint(EndpointName="e", Body=b"abc")["Body"].read() == b"ABC"
        client.close()
        assert len(sagemaker_local.received) == 1

    def test_each_test_has_its_own(sagemaker_local):
        assert not sagemaker_local.received
"""


LOOP_SCOPE = "asyncio_default_fixture_loop_scope = function\n"
# It calls itself so; pytest-aiohttp is pytest-asyncio under another name.
OBSOLETE = "ignore:aiohttp.pytest_plugin will be removed:DeprecationWarning"


def run(tmp_path, tests, *arguments, config=""):
    code = textwrap.dedent(MODEL) + textwrap.dedent(tests)
    (tmp_path / "test_mine.py").write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nfilterwarnings = error\n{config}", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )


def assert_passed(done, count):
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} passed" in done.stdout


@pytest.mark.parametrize(
    "marker, arguments, config",
    [
        ("", [], f"asyncio_mode = auto\n{LOOP_SCOPE}"),
        ("@pytest.mark.asyncio", [], f"asyncio_mode = strict\n{LOOP_SCOPE}"),
        ("@pytest.mark.anyio", ["-p", "no:asyncio", "-k", "not trio"], ""),
        ("", ["-p", "no:asyncio", "-p", "aiohttp.pytest_plugin", "-W", OBSOLETE], ""),
    ],
    ids=["pytest-asyncio auto", "pytest-asyncio strict", "anyio", "aiohttp"],
)
def test_with_every_plugin_that_runs_async_tests(tmp_path, marker, arguments, config):
    tests = ASYNC_TESTS.replace("{marker}", marker)
    assert_passed(run(tmp_path, tests, *arguments, config=config), 3)


def test_with_blocking_clients(tmp_path):
    assert_passed(run(tmp_path, BLOCKING_TESTS, "-p", "no:asyncio"), 2)


RUN_TWICE = """
    from _pytest.runner import runtestprotocol

    def pytest_runtest_protocol(item, nextitem):
        runtestprotocol(item, nextitem=None, log=False)  # and once more, by pytest itself
"""


def test_a_test_that_is_run_again(tmp_path):
    (tmp_path / "conftest.py").write_text(textwrap.dedent(RUN_TWICE), encoding="utf-8")
    tests = """
        tests = []

        @pytest.mark.asyncio
        async def test_one(sagemaker_local, sagemaker_session, request):
            tests.append(request.node.obj)
            sagemaker_local.add_model("e", model)
            assert await call(sagemaker_session) == b"ABC"

        def test_that_nothing_is_left():
            depths = []
            for test in tests:
                depths.append(0)
                while test := getattr(test, "__wrapped__", None):
                    depths[-1] += 1
            assert depths[0] == depths[1]
    """
    assert_passed(run(tmp_path, tests, config=f"asyncio_mode = strict\n{LOOP_SCOPE}"), 2)


def test_the_plugin_loads_next_to_nothing():
    code = "import aiosmrt.local._pytest_plugin, sys; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
