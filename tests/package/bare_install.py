"""What `pip install aiosmrt` brings, and what works with it: run where nothing else is installed.

Three packages and their needs; every module that no extra is for can be imported; calls
work; and where an extra is missing, the error names it.
"""

from __future__ import annotations

import asyncio
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.metadata import distributions, metadata, requires
from pathlib import Path
from typing import TYPE_CHECKING

import aiosmrt
import aiosmrt.batch
from aiosmrt.local import LocalEndpoint, ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# The modules that only who has installed an extra imports, or pytest.
FOR_AN_EXTRA = {
    "aiosmrt._cli": {"click", "rich"},
    "aiosmrt.instrumentation.opentelemetry": {"opentelemetry"},
    "aiosmrt.local._pytest_plugin": {"pytest"},
}


def needs_of(name: str) -> set[str]:
    """The names of what a distribution requires, on whatever platform, without its extras."""
    needs = [need for need in requires(name) or () if "extra ==" not in need]
    return {normal(re.match(r"[\w.-]+", need)[0]) for need in needs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_what_is_installed() -> None:
    installed = {normal(found.metadata["Name"]) for found in distributions()}
    allowed, left = {"aiosmrt"}, needs_of("aiosmrt")
    assert left == {"aiohttp", "attrs", "aws-requests-auth"}, left
    assert left <= installed
    while left:
        name = left.pop()
        allowed.add(name)
        left |= (needs_of(name) & installed) - allowed
    assert installed <= allowed, f"more than needed: {installed - allowed}"
    print(f"ok: {len(installed)} packages: {', '.join(sorted(installed))}")


def check_imports() -> None:
    count = 0
    found = pkgutil.walk_packages(aiosmrt.__path__, "aiosmrt.", onerror=lambda _: None)
    for name in sorted(module.name for module in found):
        if name == "aiosmrt.__main__":
            continue
        try:
            import_module(name)
        except ImportError as error:
            wanted = next((FOR_AN_EXTRA[of] for of in FOR_AN_EXTRA if name.startswith(of)), set())
            assert (error.name or "").split(".")[0] in wanted, f"{name}: {error}"
        else:
            count += 1
    for name in aiosmrt.__all__:
        getattr(aiosmrt, name)
    print(f"ok: {count} modules and all public names")


async def echo(request: ModelRequest) -> bytes:
    return request.body


async def parts(request: ModelRequest) -> AsyncIterator[bytes]:
    for byte in request.body:
        yield bytes([byte])


async def check_calls(session: aiosmrt.Session) -> None:
    assert (await session.invoke_endpoint("echo", b"whole")).body == b"whole"
    async with session.invoke_endpoint_with_response_stream("parts", b"abc") as stream:
        assert [part.bytes async for part in stream] == [b"a", b"b", b"c"]
    invocation = await session.invoke_endpoint_async("echo", body=b"later")
    assert (await invocation.result(timeout=60)).body == b"later"
    large = b"x" * 9_000_000
    uri = await session.upload_input(large, "s3://bucket/large")
    result = await (await session.invoke_endpoint_async("echo", uri)).result(60, body_limit=10)
    await result.save("large")
    assert Path("large").read_bytes() == large
    items = [item async for item in session.invoke_many("echo", [b"1", b"2"], ordered=True)]
    assert [item.output.body for item in items] == [b"1", b"2"]
    Path("in.jsonl").write_text('{"x": 1}\n')
    summary = await aiosmrt.batch.run(session, "echo", "in.jsonl", "out.jsonl")
    assert summary.failed == 0
    print("ok: the three operations, S3, invoke_many and batch.run")


# ── an extra that is missing ─────────────────────────────────────────────────────────────────


async def without_cli(_: aiosmrt.Session) -> None:
    command = [sys.executable, "-m", "aiosmrt"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    raise RuntimeError(ended.stderr)


async def without_botocore(_: aiosmrt.Session) -> None:
    async with aiosmrt.Session(region="eu-west-1", endpoint_url="http://127.0.0.1:1") as session:
        await session.invoke_endpoint("echo", b"")


async def without_parquet(session: aiosmrt.Session) -> None:
    Path("in.parquet").write_bytes(b"PAR1")
    await aiosmrt.batch.run(session, "echo", "in.parquet", "out2.jsonl")


async def without_report(session: aiosmrt.Session) -> None:
    await aiosmrt.batch.run(session, "echo", "in.jsonl", "out3.jsonl", report="report.html")


async def without_otel(_: aiosmrt.Session) -> None:
    import_module("aiosmrt.instrumentation.opentelemetry")


MISSING: dict[str, Callable[[aiosmrt.Session], Awaitable[None]]] = {
    "botocore": without_botocore,
    "cli": without_cli,
    "otel": without_otel,
    "parquet": without_parquet,
    "report": without_report,
}


async def check_extras(session: aiosmrt.Session) -> None:
    extras = set(metadata("aiosmrt").get_all("Provides-Extra") or ())
    # Nothing of ours imports Ray: it calls aiosmrt.batch.ray. Nobody misses a speedup, and S3
    # needs nothing.
    untold = extras - {"all", "ray", "s3", "speedups"} - set(MISSING)
    assert not untold, f"it is not tried what is said where these are missing: {untold}"
    for extra, use in MISSING.items():
        try:
            await use(session)
        except (aiosmrt.AiosmrtError, ImportError, RuntimeError) as error:
            text = str(error)
            assert f"pip install 'aiosmrt[{extra}]'" in text, f"{extra}: {error!r}"
        else:
            raise AssertionError(f"{extra} is not missing")
    print(f"ok: each of {', '.join(sorted(MISSING))} is named where it is missing")


async def main() -> None:
    check_what_is_installed()
    check_imports()
    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("echo", echo)
        local.add_model("parts", parts)
        await check_calls(session)
        await check_extras(session)


for variable in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[variable]
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)
    asyncio.run(main())
    os.chdir("/")
