from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal

import pytest
from support.cli_process import SECONDS, environment, run, running, terminal

from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM
from aiosmrt.local import ModelFailure, ModelResponse

PARAMETERS = {
    "content_type": "text/csv",
    "accept": "text/plain; charset=utf-8",
    "custom_attributes": "trace=1 2",
    "target_variant": "blue",
    "target_container_hostname": "second",
    "inference_id": "order 1",
    "inference_component_name": "component",
    "session_id": "abc",
    "prefix_aware_id": "prefix",
}


def chunk(text):
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": text}}]}).encode()


# The payload in parts that end where nothing else does, and what each format makes of it.
PARTS = {
    "raw": [b"\x00\xff", b"\r", b"\n"],
    "text": [b"na\xc3", b"\xafve", b" \xe2\x82", b"\xac"],
    "lines": [b"one\r", b"\ntw", b"o\rthree\n\nla", b"st"],
    "sse": [b"event: no", b"te\nid: 7\ndata: a\nda", b"ta: b\n", b"\nretry: 9\ndata: [DONE]\n\n"],
    "json": [b'{"a": "\\ud83d\\ud', b'e00"}[1, 2.5', b', null] "\\ud83d"'],
    "tokens": [chunk("Hel"), chunk("lo\ud83d")[:30], chunk("lo\ud83d")[30:], b"data: [DONE]\n\n"],
}
PRINTED = {
    "raw": b"\x00\xff\r\n",
    "text": "naïve €".encode(),
    "lines": b"one\ntwo\nthree\n\nlast\n",
    "sse": b'{"event":"note","data":"a\\nb","id":"7","retry":null}\n'
    b'{"event":"message","data":"[DONE]","id":"7","retry":9}\n',
    "json": '{"a":"😀"}\n[1,2.5,null]\n"\\ud83d"\n'.encode(),
    "tokens": b"Hello?",
}


class Endless:
    """A model that generates until it is cancelled, and tells of both."""

    def __init__(self, part):
        self.part = part
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request):
        self.started.set()
        try:
            while True:
                yield self.part
        finally:
            self.cancelled.set()


class Paused(Endless):
    """One that yields a part, and then nothing until it is cancelled."""

    async def __call__(self, request):
        self.started.set()
        try:
            yield self.part
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest.mark.parametrize("form", PARTS)
async def test_every_format(local, form):
    async def model(request):
        for part in PARTS[form]:
            yield part

    local.add_model("llm", model)
    ended = await run("stream", "llm", "{}", "--format", form, env=environment(local))
    assert ended == (0, PRINTED[form], "")


async def test_the_help_tells_each_format_on_a_line_of_its_own():
    ended = await run("stream", "--help", env=environment())
    lines = [line.split() for line in ended.stdout.decode().splitlines()]
    assert [line[0] for line in lines if line and line[0] in PARTS] == [
        "raw",
        "lines",
        "sse",
        "json",
        "text",
        "tokens",
    ]


async def test_without_a_format_it_is_raw(local):
    async def model(request):
        yield request.body

    local.add_model("llm", model)
    body = bytes(range(256)) * 8_000
    ended = await run("stream", "llm", "-", env=environment(local), stdin=body)
    assert ended == (0, body, "")


@pytest.mark.parametrize("form", ["raw", "lines", "json"])
async def test_a_part_is_printed_before_the_next_one_is_made(local, form):
    read = asyncio.Event()

    async def model(request):
        for number in range(3):
            yield b"%d\n" % number
            await asyncio.wait_for(read.wait(), SECONDS)
            read.clear()

    local.add_model("llm", model)
    words = ["stream", "llm", "{}", "--format", form]
    async with running(*words, env=environment(local)) as process:
        for number in range(3):
            assert await asyncio.wait_for(process.stdout.readline(), SECONDS) == b"%d\n" % number
            read.set()
    assert process.returncode == 0


async def test_every_parameter_is_an_option_and_arrives(local):
    inputs = INVOKE_ENDPOINT_WITH_RESPONSE_STREAM.inputs
    assert [binding.parameter for binding in inputs] == list(PARAMETERS)

    async def model(request):
        yield b"part"

    local.add_model("llm", model)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in PARAMETERS.items()]
    assert await run("stream", "llm", "x", *options, env=environment(local)) == (0, b"part", "")
    headers = local.received[-1].headers
    assert {binding.parameter: headers[binding.header] for binding in inputs} == PARAMETERS


async def test_verbose_tells_the_facts_and_the_measures(local):
    async def model(request):
        async def parts():
            yield b"1"
            await asyncio.sleep(0.1)  # a gap to tell of
            yield b"2"

        return ModelResponse(parts(), content_type="text/x-number")

    local.add_model("llm", model)
    ended = await run("stream", "llm", "x", "--verbose", env=environment(local))
    assert ended[:2] == (0, b"12")
    first, *_, last = ended.stderr.splitlines()
    assert first == "ContentType: text/x-number"
    seconds = r"\d+\.\d+ s"
    told = f"Parts: 2, head after {seconds}, first part after {seconds}, longest gap {seconds}"
    assert re.fullmatch(told, last)


async def test_an_error_in_the_stream_comes_after_what_was_whole(local):
    async def model(request):
        yield b"before"
        raise ModelFailure(500, "out of memory")

    local.add_model("llm", model)
    ended = await run("stream", "llm", "x", env=environment(local))
    assert ended[:2] == (1, b"before")
    assert ended.stderr.startswith("Error: ModelStreamError")
    assert ended.stderr.count("\n") == 1


async def test_a_format_that_the_stream_does_not_have_is_an_error(local):
    async def model(request):
        yield b'{"unknown": "secret"}'

    local.add_model("llm", model)
    ended = await run("stream", "llm", "x", "--format", "tokens", env=environment(local))
    assert ended[:2] == (1, b"")
    assert "'unknown'" in ended.stderr
    assert "secret" not in ended.stderr
    ended = await run("stream", "llm", "x", "--format", "xml", env=environment(local))
    assert ended[:2] == (2, b"")


async def test_ctrl_c_ends_it_with_130_and_stops_the_model(local):
    model = Paused(b"part\n")
    local.add_model("llm", model)
    async with running("stream", "llm", "x", env=environment(local)) as process:
        assert await asyncio.wait_for(process.stdout.readline(), SECONDS) == b"part\n"
        process.send_signal(signal.SIGINT)
        stdout, stderr = await asyncio.wait_for(process.communicate(), SECONDS)
        await asyncio.wait_for(model.cancelled.wait(), SECONDS)
    assert (process.returncode, stdout, stderr) == (130, b"", b"")


async def test_ctrl_c_ends_it_while_nobody_reads_what_it_prints(local):
    model = Endless(b"x" * 4096)
    local.add_model("llm", model)
    reader, writer = os.pipe()
    try:
        async with running("stream", "llm", "x", env=environment(local), stdout=writer) as process:
            for _ in range(int(SECONDS * 100)):
                if not select.select([], [writer], [], 0)[1]:
                    break
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), SECONDS)
            assert await process.stderr.read() == b""
            await asyncio.wait_for(model.cancelled.wait(), SECONDS)
    finally:
        os.close(reader)
        os.close(writer)
    assert process.returncode == 130


async def test_a_closed_pipe_ends_it_quietly_and_stops_the_model(local):
    model = Endless(b"part\n")
    local.add_model("llm", model)
    reader, writer = os.pipe()
    async with running("stream", "llm", "x", env=environment(local), stdout=writer) as process:
        os.close(writer)
        await asyncio.to_thread(os.read, reader, 5)
        os.close(reader)
        await asyncio.wait_for(process.wait(), SECONDS)
        assert await process.stderr.read() == b""
        await asyncio.wait_for(model.cancelled.wait(), SECONDS)
    assert process.returncode == 141


async def test_a_full_disk_is_one_line_and_status_1(local, tmp_path):
    model = Endless(b"x" * 4096)
    local.add_model("llm", model)
    words = ["stream", "llm", "x"]
    through = f"ulimit -f 8; exec \"$@\" >'{tmp_path}/printed'"
    ended = await run(*words, env=environment(local), through=through)
    assert ended == (1, b"", "Error: stdout: File too large\n")
    await asyncio.wait_for(model.cancelled.wait(), SECONDS)


async def test_a_closed_stdout_is_an_error_before_anything_is_sent(local):
    ended = await run("stream", "llm", "x", env=environment(local), through='exec "$@" >&-')
    assert ended == (1, b"", "Error: stdout is closed\n")
    assert not local.received


async def test_on_a_terminal_an_error_begins_a_line(local):
    """The answer breaks off in the middle of a line; stdout has no byte that is not its own."""

    async def model(request):
        yield b"half a li"
        raise ModelFailure(500, "out of memory")

    local.add_model("llm", model)
    with terminal() as screen:
        both = {"stdout": screen.descriptor, "stderr": screen.descriptor}
        async with running("stream", "llm", "x", env=environment(local), **both) as process:
            await screen.shows("half a li\r\nError: ModelStreamError")
    assert process.returncode == 1
