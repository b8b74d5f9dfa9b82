from __future__ import annotations

import asyncio
import json

import pytest
from support.cli_process import SECONDS, environment, run, running, terminal

from aiosmrt._protocol.operations import INVOKE_ENDPOINT_ASYNC
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelResponse

PARAMETERS = {
    "input_location": "s3://bucket/in",
    "content_type": "text/csv",
    "accept": "text/plain; charset=utf-8",
    "custom_attributes": "trace=1 2",
    "inference_id": "order 1",
    "s3_output_path_extension": "deep/er",
    "filename": "out.txt",
    "request_ttl_seconds": "60",
    "invocation_timeout_seconds": "3600",
}
LONG = bytes(range(256)) * 501  # over what travels with a call


async def echo(request):
    return ModelResponse(request.body, content_type="application/x-echo")


async def fail(request):
    raise ModelFailure(507, "out of memory")


@pytest.fixture
def local(local):
    local.add_model("echo", echo)
    local.add_model("fail", fail)
    local.put_object("s3://bucket/in", b"\x00input\xff")
    return local


@pytest.fixture
async def slow(local):
    """Lets the model of the endpoint ``slow`` answer, once it is asked and told to."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def model(request):
        asked.set()
        await answer.wait()
        return b"at last"

    local.add_model("slow", model)
    yield asked, answer
    answer.set()


async def test_without_wait_it_prints_the_facts_as_json(local):
    ended = await run("async", "echo", "s3://bucket/in", env=environment(local))
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.endswith(b"\n")
    facts = json.loads(ended.stdout)
    async with local.session() as session:
        result = await session.async_invocation(**facts).result(SECONDS)
    assert result.body == b"\x00input\xff"


async def test_with_wait_the_output_is_on_stdout_untouched(local):
    words = ["async", "echo", "s3://bucket/in", "--wait"]
    ended = await run(*words, env=environment(local))
    assert ended[:2] == (0, b"\x00input\xff")
    # For people, and for who stops waiting: where it will be. No spinner: it is no terminal.
    locations = {"output_location", "failure_location"}
    assert set(json.loads(ended.stderr)) == {"inference_id", "accepted_at"} | locations


async def test_the_output_goes_to_a_file(local, tmp_path):
    words = ["async", "echo", "s3://bucket/in", "--wait", "-o", str(tmp_path / "out")]
    ended = await run(*words, env=environment(local))
    assert ended[:2] == (0, b"")
    assert (tmp_path / "out").read_bytes() == b"\x00input\xff"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


async def test_the_input_is_a_file_or_stdin(local, tmp_path):
    (tmp_path / "in").write_bytes(b"\x00file")
    env = environment(local)
    by_file, by_stdin = await asyncio.gather(
        run("async", "echo", f"@{tmp_path / 'in'}", "--wait", env=env),
        run("async", "echo", "-", "--wait", env=env, stdin=b"\x00stdin"),
    )
    assert by_file[:2] == (0, b"\x00file")
    assert by_stdin[:2] == (0, b"\x00stdin")


async def test_a_long_input_is_put_into_s3(local, tmp_path):
    (tmp_path / "in").write_bytes(LONG)
    source = f"@{tmp_path / 'in'}"
    words = ["async", "echo", source, "--upload-to", "s3://inputs/of/", "--wait"]
    ended = await run(*words, env=environment(local))
    assert ended[:2] == (0, LONG)
    ended = await run("async", "echo", source, env=environment(local))
    assert ended[:2] == (2, b"")
    assert f"An input of {len(LONG)} bytes is too long" in ended.stderr
    assert "--upload-to" in ended.stderr


async def test_every_parameter_is_an_option_and_arrives(local):
    inputs = INVOKE_ENDPOINT_ASYNC.inputs
    assert [binding.parameter for binding in inputs] == list(PARAMETERS)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in PARAMETERS.items()]
    words = ["async", "echo", PARAMETERS["input_location"], *options[1:]]
    ended = await run(*words, env=environment(local))
    assert (ended.status, ended.stderr) == (0, "")
    (request,) = (each for each in local.received if each.operation == "InvokeEndpointAsync")
    assert {binding.parameter: request.headers[binding.header] for binding in inputs} == PARAMETERS


async def test_s3_can_be_elsewhere(local):
    async with LocalEndpoint() as other:
        words = ["async", "echo", "s3://bucket/in", "--wait", "--s3-endpoint-url", other.url]
        async with running(*words, env=environment(local)) as process:
            facts = json.loads(await asyncio.wait_for(process.stderr.readline(), SECONDS))
            other.put_object(facts["output_location"], b"from elsewhere")
            output = await asyncio.wait_for(process.stdout.read(), SECONDS)
        assert (process.returncode, output) == (0, b"from elsewhere")
        assert {request.operation for request in local.received} == {"InvokeEndpointAsync"}


async def test_a_failed_inference_is_one_line_and_status_1(local):
    ended = await run("async", "fail", "s3://bucket/in", "--wait", env=environment(local))
    assert ended[:2] == (1, b"")
    _, error = ended.stderr.splitlines()
    assert error.startswith("Error: ")
    assert "out of memory" in error


async def test_an_output_that_does_not_come_in_time_is_status_1(local, slow):
    words = ["async", "slow", "s3://bucket/in", "--wait", "--wait-timeout=0.2"]
    ended = await run(*words, env=environment(local))
    assert ended[:2] == (1, b"")
    facts, error = ended.stderr.splitlines()
    assert "output_location" in facts
    assert error.startswith("Error: ")


async def test_a_file_that_cannot_be_written_is_one_line_and_status_1(local):
    words = ["async", "echo", "s3://bucket/in", "--wait", "-o", "/dev/full"]
    ended = await run(*words, env=environment(local))
    assert ended[:2] == (1, b"")
    _, error = ended.stderr.splitlines()
    assert error.startswith("Error: [Errno 22] not a regular file")


@pytest.mark.parametrize(
    "words, said",
    [
        (["echo"], "Missing argument 'S3_URI'"),
        (["echo", "bucket/key"], "it is neither an s3:// or https:// URI, nor @FILE, nor -"),
        (["echo", "@no-such-file"], "there is no file 'no-such-file'"),
        (["echo", "s3:///key"], "Invalid value for 'S3_URI'"),
        (["echo", "s3://b/k", "--filename", "a.b.c"], "Invalid value for '--filename'"),
        (["echo", "s3://b/k", "--request-ttl-seconds", "59"], "an integer from 60 to 21600"),
        (["echo", "s3://b/k", "--request-ttl-seconds", "1e3"], "an integer from 60 to 21600"),
        (["echo", "s3://b/k", "-o", "out"], "with --wait only"),
        (["echo", "s3://b/k", "--wait", "-o", "missing/out"], "'missing' of -o does not exist"),
        (["echo", "s3://b/k", "--wait-timeout", "3"], "with --wait only"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_wrong_usage_is_status_2_and_calls_nothing(local, words, said):
    ended = await run("async", *words, env=environment(local))
    assert ended[:2] == (2, b"")
    assert said in ended.stderr
    assert not local.received


async def test_on_a_terminal_a_spinner_turns_until_the_output_is_there(local, slow):
    asked, answer = slow
    env = environment(local, TERM="xterm")
    with terminal() as screen:
        words = ["async", "slow", "s3://bucket/in", "--wait"]
        async with running(*words, env=env, stderr=screen.descriptor) as process:
            await screen.shows("Waiting for the output of slow")
            await asyncio.wait_for(asked.wait(), SECONDS)
            answer.set()
            stdout, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert (process.returncode, stdout) == (0, b"at last")
