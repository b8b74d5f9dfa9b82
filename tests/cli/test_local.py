from __future__ import annotations

import asyncio
import re
import signal
import socket
from contextlib import asynccontextmanager, closing

import aiohttp
import pytest
from aiohttp import web
from support.cli_process import SECONDS, environment, run, running

import aiosmrt

OWN = ("--access-key-id", "ME", "--secret-access-key", "my own secret")


@pytest.fixture
async def container():
    """A model container that streams the request's words, as others write them."""

    async def ping(request):
        return web.Response()

    async def invocations(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for word in (await request.read()).split():
            await response.write(word)
        return response

    app = web.Application()
    app.router.add_get("/ping", ping)
    app.router.add_post("/invocations", invocations)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def serving(*words):
    """The command with a port of its own; gives the process and what it exports."""
    async with running("local", "--port", "0", *words, env=environment()) as process:
        exports = {}
        said = []
        while "AWS_SECRET_ACCESS_KEY" not in exports:
            line = (await asyncio.wait_for(process.stderr.readline(), SECONDS)).decode()
            assert line, "".join(said)
            said.append(line)
            if export := re.fullmatch(r"  export (\w+)=(.*)\n", line):
                exports[export[1]] = export[2]
        yield process, exports, "".join(said)
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)


def session(exports, **keywords):
    return aiosmrt.Session(
        endpoint_url=exports["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"],
        s3_endpoint_url=exports["AWS_ENDPOINT_URL_S3"],
        region=exports["AWS_REGION"],
        **{
            "credentials": aiosmrt.Credentials(
                exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"]
            )
        }
        | keywords,
    )


async def test_the_three_operations_by_what_it_exports(container):
    async with serving("--container", f"words={container}") as (process, exports, said):
        assert f"  words: {container}\n" in said
        async with session(exports) as client:
            output = await client.invoke_endpoint("words", b"a bc d")
            assert output.body == b"abcd"
            call = client.invoke_endpoint_with_response_stream("words", b"a bc d")
            async with call as stream:
                assert await stream.read() == b"abcd"
            invocation = await client.invoke_endpoint_async("words", body=b"a bc d")
            assert (await invocation.result(SECONDS)).body == b"abcd"
    assert process.returncode == 0


async def test_the_exports_work_with_another_sdk(container):
    import boto3

    async with serving("--container", f"words={container}") as (_, exports, _):
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=exports["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"],
            region_name=exports["AWS_DEFAULT_REGION"],
            aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        )
        answer = await asyncio.to_thread(
            client.invoke_endpoint, EndpointName="words", Body=b"a bc d"
        )
        assert answer["Body"].read() == b"abcd"
        client.close()


async def test_own_credentials_hold_and_the_key_is_not_printed(container):
    async with serving("--container", f"words={container}", *OWN) as (_, exports, said):
        assert exports["AWS_ACCESS_KEY_ID"] == "ME"
        assert "my own secret" not in said
        async with session(exports, credentials=aiosmrt.Credentials("ME", OWN[-1])) as client:
            assert (await client.invoke_endpoint("words", b"x")).body == b"x"
        async with session(exports) as client:
            with pytest.raises(aiosmrt.ServiceError):
                await client.invoke_endpoint("words", b"x")


async def test_hosts_that_are_allowed(container):
    words = ["--container", f"words={container}", "--no-verify", "--allow-host", "models.example"]
    async with serving(*words) as (_, exports, _), aiohttp.ClientSession() as client:
        url = f"{exports['AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME']}/endpoints/words/invocations"
        for host, status in (("models.example", 200), ("localhost:80", 200), ("evil.example", 421)):
            async with client.post(url, data=b"x", headers={"Host": host}) as response:
                assert response.status == status


async def test_what_is_no_host_to_allow():
    status, _, said = await run(
        "local", "--port", "0", "--allow-host", "http://a:1", env=environment()
    )
    assert status == 1
    assert "allowed_hosts holds 'http://a:1', which is not a host's name" in said


async def test_no_verify_takes_any_signature(container):
    words = ["--container", f"words={container}", "--no-verify", "--region", "eu-west-1"]
    async with serving(*words) as (_, exports, _):
        assert exports["AWS_REGION"] == exports["AWS_DEFAULT_REGION"] == "eu-west-1"
        async with session(exports, credentials=aiosmrt.Credentials("ANY", "one")) as client:
            assert (await client.invoke_endpoint("words", b"x")).body == b"x"


async def test_containers_of_one_endpoint(container):
    words = [f"--container=words={container},variant=a"]
    words += ["--container=words=http://127.0.0.1:9,variant=b,weight=0"]
    async with serving(*words) as (_, exports, said):
        assert f"  words: {container}, variant a\n" in said
        assert "  words: http://127.0.0.1:9, variant b, weight 0\n" in said
        async with session(exports, retries=aiosmrt.RetryPolicy(max_attempts=1)) as client:
            for _ in range(5):
                output = await client.invoke_endpoint("words", b"x")
                assert output.invoked_production_variant == "a"
            with pytest.raises(aiosmrt.ModelNotReadyException):
                await client.invoke_endpoint("words", b"x", target_variant="b")


async def test_a_multi_model_container_is_one(container):
    async with serving(f"--container=words={container},multi-model") as (_, exports, said):
        assert f"  words: {container}, multi-model\n" in said
        async with session(exports) as client:
            with pytest.raises(aiosmrt.ValidationError, match="target model"):
                await client.invoke_endpoint("words", b"x")


async def test_faults_by_a_header(container):
    async def ask(exports):
        url = exports["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] + "/endpoints/words/invocations"
        headers = {"X-Aiosmrt-Fault": "error=ThrottlingException"}
        async with aiohttp.ClientSession() as client:
            async with client.post(url, data=b"x", headers=headers) as response:
                return response.status

    words = ["--no-verify", f"--container=words={container}"]
    async with serving(*words, "--faults") as (_, exports, _):
        assert await ask(exports) == 400
    async with serving(*words) as (_, exports, _):
        assert await ask(exports) == 200


def make_bucket(url, name):
    import boto3

    keys = {"aws_access_key_id": "ME", "aws_secret_access_key": OWN[-1]}
    with closing(boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)) as s3:
        s3.create_bucket(Bucket=name)


async def test_an_s3_elsewhere(container, moto_url):
    words = ["--s3-endpoint-url", moto_url, "--output-bucket", "cli-local"]
    async with serving(*words, *OWN, f"--container=words={container}") as (_, exports, _):
        assert exports["AWS_ENDPOINT_URL_S3"] == moto_url
        await asyncio.to_thread(make_bucket, moto_url, "cli-local")
        async with session(exports, credentials=aiosmrt.Credentials("ME", OWN[-1])) as client:
            invocation = await client.invoke_endpoint_async("words", body=b"a bc d")
            assert invocation.output_location.startswith("s3://cli-local/")
            assert (await invocation.result(SECONDS)).body == b"abcd"


async def test_an_s3_elsewhere_that_may_not_know_the_key(moto_url):
    words = ["--s3-endpoint-url", moto_url]
    async with serving(*words) as (_, _, said):
        assert "may not know the key below" in said
    for known in ([*words, *OWN], []):
        async with serving(*known) as (_, _, said):
            assert "may not know" not in said


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_it_stops_in_order(number, status):
    async with serving() as (process, exports, said):
        assert "Warning" not in said
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), SECONDS) == status
        assert await process.stderr.read() == b"Stopping\n"
        with pytest.raises(OSError, match="refused"), socket.socket() as client:
            client.connect(("127.0.0.1", int(exports["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])))


async def test_async_inferences_are_finished_before_it_stops(moto_url):
    begun = asyncio.Event()

    async def answer(request):
        if request.path == "/invocations":
            begun.set()
            await asyncio.sleep(1)
        return web.Response(body=b"done")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    container = f"--container=slow=http://127.0.0.1:{runner.addresses[0][1]}"
    words = ["--s3-endpoint-url", moto_url, "--output-bucket", "cli-stopped"]
    async with serving(*words, *OWN, container) as (process, exports, _):
        keys = aiosmrt.Credentials("ME", OWN[-1])
        async with session(exports, credentials=keys) as client:
            await asyncio.to_thread(make_bucket, moto_url, "cli-stopped")
            invocation = await client.invoke_endpoint_async("slow", body=b"x")
            await begun.wait()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), SECONDS) == 0
            said = (await process.stderr.read()).decode()
            assert said == "Stopping\nAsync inferences under way: 1; they have 7 seconds\n"
            assert (await invocation.result(SECONDS)).body == b"done"
    await runner.cleanup()


async def test_it_warns_when_others_can_reach_it(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    async with serving("--host", "0.0.0.0") as (_, _, said):
        assert said.startswith("Warning: the local endpoint listens on 0.0.0.0: ")
        assert said.splitlines()[0].endswith("others can reach it there")


async def test_a_port_in_use_is_one_line_and_status_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = await run("local", "--port", str(taken.getsockname()[1]), env=environment())
    assert ended[:2] == (1, b"")
    assert ended.stderr.startswith("Error: [Errno ")
    assert "in use" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words, status, said",
    [
        (["--container", "digits"], 2, "it must be NAME=URL"),
        (["--container", "=http://127.0.0.1:1"], 2, "it must be NAME=URL"),
        (["--container", "di gits=http://127.0.0.1:1"], 2, "endpoint_name"),
        (["--container", "digits=ftp://127.0.0.1:1"], 2, "ftp://127.0.0.1:1"),
        (["--container", "digits=http://127.0.0.1:1,wait=1"], 2, "'wait=1' is none of the options"),
        (["--container", "digits=http://127.0.0.1:1,weight=x"], 2, "'weight=x' is none of"),
        (["--container", "digits=http://127.0.0.1:1,multi-model=1"], 2, "is none of"),
        (["--container", "digits=http://127.0.0.1:1,weight=-1"], 2, "weight"),
        (["--container", "d=http://a,weight=1", "--container", "d=http://b"], 2, "alike"),
        (["--container", "digits=http://[::1"], 2, "no valid host and port"),
        (["--container", "digits=http://me:secret@a"], 2, "credentials are not part of a URL"),
        (["--s3-endpoint-url", "elsewhere"], 1, "s3_endpoint_url"),
        (["--access-key-id", "", "--secret-access-key", ""], 1, "access_key_id"),
        (["--output-bucket", ""], 1, "bucket's name"),
        (["--access-key-id", "ME"], 2, "go together"),
        (["--secret-access-key", "KEY"], 2, "go together"),
        (["--port", "65536"], 2, "--port"),
        (["extra"], 2, "unexpected extra argument"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_wrong_usage(words, status, said):
    ended = await run("local", *words, env=environment())
    assert ended[:2] == (status, b"")
    assert said in ended.stderr.splitlines()[-1]
    assert ended.stderr.splitlines()[-1].startswith("Error: ")
    assert "secret@" not in ended.stderr
