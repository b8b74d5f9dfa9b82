"""The key that reaches the server, through a whole session, is the one botocore resolves."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from aiohttp import web
from metadata_server import MetadataServer

import aiosmrt

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
FILE = "aws_access_key_id = AKIDFILE\naws_secret_access_key = s3cr3t\n"
PROCESS = {"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": "s3cr3t"}


class Service:
    """Answers every call, and remembers by which key it was signed; refuses those that ended."""

    def __init__(self):
        self.keys = []
        self.ended = set()

    async def answer(self, request):
        key = re.search("Credential=([^/]+)/", request.headers["Authorization"])[1]
        self.keys.append(key)
        if key in self.ended:
            return web.json_response(
                {"message": "The security token included in the request is expired"},
                status=403,
                headers={"x-amzn-errortype": "ExpiredTokenException"},
            )
        return web.Response(body=b"{}", content_type="application/json")


@pytest.fixture
async def service(monkeypatch, tmp_path):
    service = Service()
    app = web.Application()
    app.router.add_post("/{path:.*}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    yield service
    await runner.cleanup()


@pytest.fixture
def metadata(monkeypatch):
    with MetadataServer() as server:
        url = f"{server.url}/container"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        yield server


async def test_the_key_that_arrives_is_botocores(service, metadata, monkeypatch, tmp_path):
    async def call_twice(profile=None):
        def by_boto3():
            client = boto3.Session(profile_name=profile).client("sagemaker-runtime")
            client.invoke_endpoint(EndpointName="e", Body=b"")
            client.close()

        service.keys.clear()
        await asyncio.to_thread(by_boto3)
        async with aiosmrt.Session(profile=profile) as session:
            await session.invoke_endpoint("e", b"")
        ours, theirs = service.keys
        assert ours == theirs
        return ours

    assert await call_twice() == "AKIDMETA1"
    (tmp_path / "config").write_text(
        f"[default]\ncredential_process = /bin/echo '{json.dumps(PROCESS)}'\n[profile file]\n{FILE}"
    )
    assert await call_twice() == "AKIDPROCESS"
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert await call_twice() == "AKIDENV"
    assert await call_twice(profile="file") == "AKIDFILE"
    monkeypatch.setenv("AWS_PROFILE", "file")
    assert await call_twice() == "AKIDENV"


async def test_credentials_that_the_service_refuses_are_renewed_once_for_200_calls(
    service, metadata
):
    async with aiosmrt.Session() as session:
        await session.invoke_endpoint("e", b"")
        metadata.asked.clear()
        metadata.key_number = 2
        service.ended.add("AKIDMETA1")
        outputs = await asyncio.gather(*(session.invoke_endpoint("e", b"") for _ in range(200)))
    assert all(output.body == b"{}" for output in outputs)
    assert len(metadata.asked) == 1


async def test_credentials_that_are_refused_anew_are_the_callers_error(service, metadata):
    service.ended |= {"AKIDMETA1", "AKIDMETA2"}
    async with aiosmrt.Session() as session:
        with pytest.raises(aiosmrt.ExpiredTokenException) as caught:
            await session.invoke_endpoint("e", b"")
    assert caught.value.attempts == 1  # the container had no others
    assert service.keys == ["AKIDMETA1"]


async def test_a_users_provider_and_boto3s_credentials_sign_too(service, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    class Mine:
        async def get_credentials(self):
            return aiosmrt.Credentials(f"AKIDMINE{len(service.keys)}", "s3cr3t")

    for credentials, keys in [
        (aiosmrt.Credentials("AKIDFIXED", "s3cr3t"), ["AKIDFIXED"] * 2),
        (Mine(), ["AKIDMINE0", "AKIDMINE1"]),
        (boto3.Session().get_credentials(), ["AKIDENV"] * 2),
    ]:
        service.keys.clear()
        async with aiosmrt.Session(credentials=credentials) as session:
            await session.invoke_endpoint("e", b"")
            await session.invoke_endpoint("e", b"")
        assert service.keys == keys


async def test_credentials_past_their_end_are_fetched_once_for_200_calls(service):
    class Source:
        calls = 0

        async def get_credentials(self):
            self.calls += 1
            await asyncio.sleep(0.01)
            lasting = timedelta(minutes=-1 if self.calls == 1 else 60)
            end = datetime.now(timezone.utc) + lasting
            return aiosmrt.Credentials(f"AKID{self.calls}", "s3cr3t", "t0k3n", end)

    source = Source()
    provider = aiosmrt.CachingProvider(source)
    async with aiosmrt.Session(credentials=provider) as session:
        await session.invoke_endpoint("e", b"")
        await asyncio.gather(*(session.invoke_endpoint("e", b"") for _ in range(200)))
    assert source.calls == 2
    assert set(service.keys[1:]) == {"AKID2"}
