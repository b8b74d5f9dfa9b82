from __future__ import annotations

import asyncio
import json

import pytest
from support.cli_process import environment, run

from aiosmrt._protocol.operations import INVOKE_ENDPOINT
from aiosmrt.local import ModelFailure, ModelResponse

# A value for every parameter; and one that breaks its rule, where no text is too short to.
PARAMETERS = {
    "content_type": "text/csv",
    "accept": "text/plain; charset=utf-8",
    "custom_attributes": "trace=1 2",
    "target_model": "models/a.tar.gz",
    "target_variant": "blue",
    "target_container_hostname": "second",
    "inference_id": "order 1",
    "enable_explanations": "probability>`0.8`",
    "inference_component_name": "component",
    "session_id": "NEW_SESSION",
    "prefix_aware_id": "prefix",
}
ALL_BYTES = bytes(range(256))


async def echo(request):
    return request.body


async def reverse(request):
    return ModelResponse(
        request.body[::-1],
        content_type="text/x-reversed",
        custom_attributes="took=\t3",
        new_session_id="abc; Expires=2030-01-02T03:04:05Z",
    )


async def fail(request):
    raise ModelFailure(507, "line one\nline two \x1b[31mred \x9b32m\u202ederever")


@pytest.fixture
def local(local):
    local.add_model("echo", echo)
    local.add_model("reverse", reverse)
    local.add_model("fail", fail)
    return local


async def test_the_answer_is_on_stdout_untouched_and_nothing_else_anywhere(local):
    ended = await run("invoke", "echo", "-", env=environment(local), stdin=ALL_BYTES * 8_000)
    assert ended == (0, ALL_BYTES * 8_000, "")


async def test_the_body_is_text_or_a_file_or_stdin(local, tmp_path):
    file = tmp_path / "in put.bin"
    file.write_bytes(ALL_BYTES)
    bodies = {
        ("na\u00efve",): "na\u00efve".encode(),
        (b"\xff\xfe",): b"\xff\xfe",
        ("",): b"",
        ("--", "-5"): b"-5",
        (f"@{file}",): ALL_BYTES,
        ("-",): b"from stdin",
    }
    env = environment(local)
    ended = await asyncio.gather(
        *(run("invoke", "echo", *words, env=env, stdin=b"from stdin") for words in bodies)
    )
    assert [(each.status, each.stdout) for each in ended] == [(0, body) for body in bodies.values()]


async def test_every_parameter_is_an_option_and_arrives(local):
    assert [binding.parameter for binding in INVOKE_ENDPOINT.inputs] == list(PARAMETERS)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in PARAMETERS.items()]
    ended = await run("invoke", "echo", "x", *options, env=environment(local))
    assert ended == (0, b"x", "")
    headers = local.received[-1].headers
    sent = {binding.parameter: headers[binding.header] for binding in INVOKE_ENDPOINT.inputs}
    assert sent == PARAMETERS


async def test_what_is_not_given_is_not_sent(local):
    await run("invoke", "echo", "x", env=environment(local))
    sent = {binding.header for binding in INVOKE_ENDPOINT.inputs} & set(local.received[-1].headers)
    async with local.session() as session:
        await session.invoke_endpoint("echo", b"x")
    by_api = {binding.header for binding in INVOKE_ENDPOINT.inputs}
    assert sent == by_api & set(local.received[-1].headers)


async def test_verbose_tells_on_stderr_what_came_beside_the_body(local):
    ended = await run("invoke", "reverse", "abc", "-v", env=environment(local))
    assert ended[:2] == (0, b"cba")
    lines = ended.stderr.splitlines()
    assert lines[:-1] == [
        "ContentType: text/x-reversed",
        "InvokedProductionVariant: AllTraffic",
        r"CustomAttributes: took=\t3",
        "NewSessionId: abc; Expires=2030-01-02T03:04:05Z",
    ]
    assert lines[-1].startswith("RequestId: ")
    assert lines[-1].endswith(", attempts: 1")


async def test_an_error_of_the_model_is_one_line_and_status_1(local):
    ended = await run("invoke", "fail", "x", env=environment(local))
    assert ended[:2] == (1, b"")
    assert ended.stderr.startswith("Error: ModelError (HTTP 424)")
    # Escaped and not blanked out, so that whoever reads it sees what the container said.
    assert r"line one\nline two \x1b[31mred \x9b32m\u202ederever" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    "words, said",
    [
        (["no-such-endpoint", "x"], "ValidationError (HTTP 400)"),
        (["echo", "x", "--endpoint-url=http://127.0.0.1:1"], "127.0.0.1:1"),
        (["echo", "x", "--endpoint-url=nonsense"], "endpoint_url"),
        (["echo", "x", "--profile=missing"], "'missing'"),
    ],
    ids=["endpoint", "refused", "url", "profile"],
)
async def test_an_error_is_one_line_and_status_1(local, words, said):
    env = environment(local, AWS_MAX_ATTEMPTS="1")
    ended = await run("invoke", *words, env=env)
    assert ended[:2] == (1, b"")
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1
    assert said in ended.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "Missing argument 'ENDPOINT'"),
        (["echo"], "Missing argument 'BODY'"),
        (["echo", "x", "y"], "unexpected extra argument"),
        (["ec ho", "x"], "Invalid value for 'ENDPOINT': it must be 1 to 63 characters"),
        (["echo", "@no-such-file"], "Invalid value for 'BODY': 'no-such-file': No such file"),
        (["echo", "x", "--no-such-option"], "No such option"),
        (["echo", "x", "--accept="], "Invalid value for '--accept': it must be 1 to 1024"),
        (["echo", "x", "--session-id=_"], "or NEW_SESSION"),
        (["echo", "x", "--timeout=soon"], "it must be a number of seconds, or 0 for no limit"),
        (["echo", "x", "--timeout=-1"], "it must be a number of seconds"),
        (["echo", "x", "--timeout=inf"], "it must be a number of seconds"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_wrong_usage_is_status_2_and_calls_nothing(local, words, said):
    ended = await run("invoke", *words, env=environment(local))
    assert ended[:2] == (2, b"")
    assert ended.stderr.startswith("Usage: aiosmrt invoke [OPTIONS] ENDPOINT BODY\n")
    assert said in ended.stderr
    assert not local.received


async def test_endpoint_url_region_and_profile_are_options(local, tmp_path):
    (tmp_path / "credentials").write_text(
        "[other]\n"
        f"aws_access_key_id = {local.credentials.access_key_id}\n"
        f"aws_secret_access_key = {local.credentials.secret_access_key}\n"
    )
    env = environment(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"))
    given = ["--endpoint-url", local.url, "--region", local.region, "--profile", "other"]
    assert await run("invoke", "echo", "x", *given, env=env) == (0, b"x", "")
    ended = await run("invoke", "echo", "x", *given[:2], env=env)
    assert ended.status == 1
    assert "No region is set" in ended.stderr


@pytest.mark.parametrize("option", ["--read-timeout", "--timeout"])
async def test_a_time_limit_holds(local, option):
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request):
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    local.add_model("hang", hang)
    ended = await run("invoke", "hang", "x", f"{option}=3", env=environment(local))
    assert ended[:2] == (1, b"")
    assert "(operation InvokeEndpoint, endpoint hang" in ended.stderr
    assert asked.is_set()
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_0_is_no_time_limit(local):
    limits = [f"--{name}timeout=0" for name in ("", "connect-", "read-", "idle-")]
    assert await run("invoke", "echo", "x", *limits, env=environment(local)) == (0, b"x", "")


async def test_json_goes_as_it_is_written(local):
    text = json.dumps({"inputs": "ümlaut"}, ensure_ascii=False)
    options = ["--content-type", "application/json"]
    ended = await run("invoke", "echo", text, *options, env=environment(local))
    assert ended == (0, text.encode(), "")


async def test_a_closed_stdin_is_wrong_usage(local):
    ended = await run("invoke", "echo", "-", env=environment(local), through='exec "$@" <&-')
    assert ended[:2] == (2, b"")
    assert "stdin is closed" in ended.stderr
