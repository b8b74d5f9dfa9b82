from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from support.cli_process import SECONDS, environment, run, running, terminal
from support.waiting import until

from aiosmrt.local import ModelFailure, ModelResponse

PARAMETERS = {
    "content_type": "application/x-record",
    "accept": "text/plain; charset=utf-8",
    "custom_attributes": "trace=1 2",
    "target_model": "models/a.tar.gz",
    "target_variant": "blue",
    "target_container_hostname": "second",
    "enable_explanations": "probability>`0.8`",
    "inference_component_name": "component",
}


class Doubler:
    """Doubles numbers, a line each; from record ``hold_from`` on it waits to be let go."""

    def __init__(self, hold_from=None):
        self.calls = []
        self.hold_from = hold_from
        self.held = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, request):
        self.calls.append(request)
        if self.hold_from is not None and len(self.calls) >= self.hold_from:
            self.held.set()
            await self.go.wait()
        records = [json.loads(line) for line in request.body.splitlines()]
        if any(record["n"] < 0 for record in records):
            raise ModelFailure(400, "negative")
        answers = [str(2 * record["n"]) for record in records]
        return ModelResponse("\n".join(answers), content_type="application/json")


@pytest.fixture
def model(local):
    model = Doubler()
    local.add_model("double", model)
    return model


@pytest.fixture
def files(tmp_path):
    """The words for ten records in, and where the output comes to lie."""
    write(tmp_path / "in.jsonl", range(10))
    return ["batch", "double", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]


def write(path, numbers):
    records = ({"n": number, "id": f"k{number}"} for number in numbers)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def outputs(files):
    lines = map(json.loads, Path(files[-1]).read_text(encoding="utf-8").splitlines())
    return {line["key"]: line["output"] for line in lines}


async def test_every_record_has_its_line(local, model, files):
    ended = await run(*files, env=environment(local))
    assert ended[:2] == (0, b"")
    assert outputs(files) == {number: 2 * number for number in range(10)}
    # A line at the end, then the summary: it is no terminal.
    first, second = ended.stderr.splitlines()
    assert first.startswith("100.0% 10/10 records, 0 failed, ")
    assert second.startswith("10 of 10 records in ")
    assert {call.content_type for call in model.calls} == {"application/json"}


async def test_the_key_is_the_field(local, model, files):
    ended = await run(*files, "--key-field", "id", env=environment(local))
    assert ended.status == 0
    assert outputs(files) == {f"k{number}": 2 * number for number in range(10)}


async def test_a_failed_record_is_status_1_after_all_were_tried(local, model, files):
    write(Path(files[2]), [1, -2, 3])
    ended = await run(*files, env=environment(local))
    assert ended[:2] == (1, b"")
    assert outputs(files) == {0: 2, 1: None, 2: 6}
    *_, count, first = ended.stderr.splitlines()
    assert count == "1 failed: ModelError 1"
    assert first.startswith(
        '  ModelError: Received client error (400) from primary with message "neg'
    )


async def test_what_failed_is_tried_again_when_asked_for(local, model, files):
    local.inject(error="ModelError", times=4)
    env = environment(local)
    assert (await run(*files, env=env)).status == 1
    assert (await run(*files, "--resume", env=env)).status == 1
    assert (await run(*files, "--resume", "--retry-failed", env=env)).status == 0
    assert outputs(files) == {number: 2 * number for number in range(10)}
    assert len(model.calls) == 10


async def test_what_is_there_is_refused_but_to_resume(local, model, files):
    env = environment(local)
    assert (await run(*files, env=env)).status == 0
    ended = await run(*files, env=env)
    assert ended[:2] == (1, b"")
    assert ended.stderr.startswith("Error: ")
    assert "--resume" in ended.stderr
    ended = await run(*files, "--resume", env=env)
    assert ended.status == 0
    assert "10 were done before" in ended.stderr
    assert len(model.calls) == 10


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_has_its_status_and_what_it_stopped_can_be_resumed(
    local, files, number, status
):
    model = Doubler(hold_from=4)
    local.add_model("double", model)
    words = [*files, "--concurrency", "2"]
    async with running(*words, env=environment(local)) as process:
        await asyncio.wait_for(model.held.wait(), SECONDS)
        process.send_signal(number)
        model.go.set()
        _, stderr = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == status
    assert stderr.decode().splitlines()[-1].endswith("(--resume)")
    done = outputs(files)
    assert 3 <= len(done) < 10
    ended = await run(*words, "--resume", env=environment(local))
    assert ended.status == 0
    assert outputs(files) == {number: 2 * number for number in range(10)}
    assert len(model.calls) == 10


async def test_every_parameter_is_an_option_and_arrives(local, model, files):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in PARAMETERS.items()]
    assert (await run(*files, *options, env=environment(local))).status == 0
    for call in model.calls:
        assert {name: getattr(call, name) for name in PARAMETERS} == PARAMETERS


async def test_several_records_to_a_request(local, model, files):
    words = ["--records-per-request=4", "--concurrency=auto", "--max-concurrency=3", "--rate=1e3"]
    ended = await run(*files, *words, env=environment(local))
    assert ended.status == 0
    assert outputs(files) == {number: 2 * number for number in range(10)}
    assert sorted(call.body.count(b"\n") for call in model.calls) == [1, 3, 3]


async def test_csv_and_the_report(local, tmp_path):
    async def echo(request):
        return ModelResponse(request.body, content_type="text/csv")

    local.add_model("echo", echo)
    (tmp_path / "in.csv").write_text("id,n\na,1\nb,2\n")
    words = ["batch", "echo", str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.jsonl")]
    more = ["--header", "--key-field=id", f"--report={tmp_path / 'report.html'}"]
    ended = await run(*words, *more, env=environment(local))
    assert ended.status == 0
    assert {key: text.strip() for key, text in outputs(words).items()} == {"a": "1", "b": "2"}
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


async def test_as_many_connections_as_it_is_asked_for_may_be_open(local, files):
    model = Doubler(hold_from=1)
    local.add_model("double", model)
    write(Path(files[2]), range(100))
    words = [*files, "--concurrency=100"]
    env = environment(local)
    async with running(*words, env=env, through='ulimit -Sn 64; exec "$@"') as process:
        await until(lambda: len(model.calls) == 100, seconds=SECONDS)
        model.go.set()
        await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0
    ended = await run(*words, "--resume", env=env, through='ulimit -n 64; exec "$@"')
    assert ended[:2] == (2, b"")
    assert "At most 64 files may be open here" in ended.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (["batch", "double", "in.jsonl"], "Missing option '-o'"),
        (["batch", "double"], "Missing argument 'INPUT'"),
        (["--concurrency", "0"], "an integer of at least 1, or auto"),
        (["--concurrency", "many"], "an integer of at least 1, or auto"),
        (["--max-concurrency", "9"], "goes with --concurrency auto"),
        (["--retry-failed"], "goes with --resume"),
        (["--drain-timeout", "-1"], "--drain-timeout"),
        (["--rate", "0"], "--rate"),
        (["--records-per-request", "0"], "--records-per-request"),
        (["--inference-id", "x"], "No such option"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_wrong_usage_is_status_2_and_calls_nothing(local, files, words, said):
    given = words if words[0] == "batch" else [*files, *words]
    ended = await run(*given, env=environment(local))
    assert ended[:2] == (2, b"")
    assert said in ended.stderr
    assert not local.received


async def test_an_input_that_is_not_there_is_one_line_and_status_1(local, tmp_path):
    words = ["batch", "double", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    ended = await run(*words, env=environment(local))
    assert ended[:2] == (1, b"")
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1


async def test_on_a_terminal_a_bar_fills(local, files):
    model = Doubler(hold_from=8)
    local.add_model("double", model)
    env = environment(local, TERM="xterm")
    with terminal() as screen:
        words = [*files, "--concurrency=1"]
        async with running(*words, env=env, stderr=screen.descriptor) as process:
            await screen.shows("7/10")
            model.go.set()
            await screen.shows("10 of 10 records in ")
            stdout, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert (process.returncode, stdout) == (0, b"")
