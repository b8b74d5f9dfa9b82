"""Files through the local endpoint: every record once, whatever ends the run."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import csv
import errno
import gc
import itertools
import json
import os
import random
import re
import signal
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.batch_runs import (
    check_each_once,
    child,
    descriptors,
    outcome,
    read_lines,
    write_records,
)
from support.clock import LoopClock
from support.waiting import our_tasks, turns, until

import aiosmrt
import aiosmrt.batch
from aiosmrt.batch._files import RunFiles
from aiosmrt.batch._output import OutputFile
from aiosmrt.batch._records import JsonLinesFile
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


class Model:
    """Echoes JSON; fails and holds where the record says so; counts what it saw."""

    def __init__(self) -> None:
        self.seen: collections.Counter[str] = collections.Counter()
        self.bodies: list[ModelRequest] = []
        self.now = self.most = 0
        self.open = asyncio.Event()
        self.open.set()

    async def echo(self, request: ModelRequest) -> Any:
        self.bodies.append(request)
        self.seen[request.body.decode()] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.001)
            await self.open.wait()
            if b"bad" in request.body:
                raise ModelFailure(400, "a bad record")
            return ModelResponse(request.body, content_type="application/json")
        finally:
            self.now -= 1


@pytest.fixture
async def model(local: LocalEndpoint) -> Model:
    model = Model()
    local.add_model("echo", model.echo)
    return model


@pytest.fixture
async def session(local: LocalEndpoint, model: Model) -> AsyncIterator[aiosmrt.Session]:
    async with local.session() as session:
        yield session


async def test_every_record_has_its_line(session, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 200)
    out = tmp_path / "out.jsonl"
    summary = await aiosmrt.batch.run(session, "echo", source, out, key_field="id", concurrency=8)
    for line in check_each_once(out, 200):
        number = line["index"]
        assert line["key"] == f"k{number}"
        assert line["output"] == {"id": f"k{number}", "n": number}
        assert line["content_type"] == "application/json"
        assert line["error"] is None
        assert line["attempts"] == 1
        assert 0 < line["latency"] < 60
    assert (summary.total, summary.succeeded, summary.failed) == (200, 200, 0)
    assert summary.requests == 200
    assert (summary.is_complete, summary.signal) == (True, None)
    assert "200 of 200 records" in str(summary)


async def test_unless_told_otherwise_64_requests_are_under_way(session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 70)
    model.open.clear()
    running = asyncio.create_task(
        aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl")
    )
    await until(lambda: model.now == 64)
    model.open.set()
    assert (await running).succeeded == 70
    assert model.most == 64


async def test_a_body_is_the_line_as_it_stands(session, model, tmp_path):
    source = tmp_path / "in.jsonl"
    values = [b'{"b":1.10,  "a":"\xc3\xa9"}', b"[1e400]", b'"text"', b"7", b"null"]
    source.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(values))
    await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", key_field="a")
    assert sorted(request.body for request in model.bodies) == sorted(values)
    assert {request.content_type for request in model.bodies} == {"application/json"}
    raw = (tmp_path / "out.jsonl").read_bytes()
    for value in values:
        assert b'"output": ' + value + b"," in raw
    assert {line["key"] for line in check_each_once(tmp_path / "out.jsonl", 5)} == {
        "é",
        *range(1, 5),
    }


async def test_a_record_that_fails_has_its_line_too(session, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"n": 1}\n"bad"\n{"n": \n"good"\n')
    summary = await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl")
    by_index = {line["index"]: line for line in check_each_once(tmp_path / "out.jsonl", 4)}
    assert by_index[1]["output"] is None
    error = by_index[1]["error"]
    assert list(error) == ["type", "code", "message", "status_code"]
    assert (error["type"], error["code"], error["status_code"]) == ("ModelError", "ModelError", 424)
    assert "a bad record" in error["message"]
    assert by_index[2]["error"]["type"] == "RecordFaultError"
    assert "line 3" in by_index[2]["error"]["message"]
    assert by_index[2]["attempts"] == 0
    assert summary.errors == {"ModelError": 1, "RecordFaultError": 1}
    assert (summary.failed, summary.requests) == (2, 3)
    assert "2 failed: ModelError 1, RecordFaultError 1" in str(summary)


async def test_records_that_are_not_sent_are_not_in_the_latencies(local, model, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(f'"{"x" * 100}"\n' * 3 + "no JSON\n")
    async with local.session(max_body_length=100) as session:
        summary = await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl")
    assert summary.errors == {"ParameterValidationError": 3, "RecordFaultError": 1}
    assert (summary.requests, summary.p50, summary.p99, summary.largest) == (0, None, None, 0.0)
    assert not model.bodies


async def test_the_parameters_of_a_request_are_those_given(session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 2)
    given: dict[str, Any] = {"content_type": "application/x-record", "accept": "text/plain"}
    await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", **given)
    assert {(body.content_type, body.accept) for body in model.bodies} == {
        ("application/x-record", "text/plain")
    }


@pytest.mark.parametrize("size", [1, 3, 7, 100])
async def test_several_records_to_a_request_and_back(session, model, tmp_path, size):
    source = write_records(tmp_path / "in.jsonl", 20)
    out = tmp_path / "out.jsonl"
    summary = await aiosmrt.batch.run(
        session, "echo", source, out, key_field="id", records_per_request=size
    )
    for line in check_each_once(out, 20):
        assert line["output"] == {"id": line["key"], "n": line["index"]}
    assert summary.requests == len(model.bodies) == -(-20 // size)
    assert summary.succeeded == 20
    expected = "application/json" if size == 1 else "application/jsonlines"
    assert {request.content_type for request in model.bodies} == {expected}


@pytest.mark.parametrize("length", [10, 5_000], ids=["small", "large"])
async def test_every_request_but_the_last_is_full(session, model, tmp_path, length):
    source = tmp_path / "in.jsonl"
    source.write_text(f'"{"x" * length}"\n' * 1_300)
    out = tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "echo", source, out, records_per_request=600)
    assert sorted(model.body.count(b"\n") + 1 for model in model.bodies) == [100, 600, 600]
    check_each_once(out, 1_300)


async def test_a_list_of_answers_is_told_apart_in_the_last_request_too(local, session, tmp_path):
    async def predict(request: ModelRequest) -> Any:
        return {"predictions": [json.loads(line)["n"] for line in request.body.splitlines()]}

    local.add_model("predict", predict)
    source = write_records(tmp_path / "in.jsonl", 9)
    out = tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "predict", source, out, records_per_request=8)
    assert {line["index"]: line["output"] for line in check_each_once(out, 9)} == {
        number: number for number in range(9)
    }


async def test_an_answer_of_another_number_of_records(local, session, tmp_path):
    async def one(request: ModelRequest) -> list[int]:
        return [1]

    local.add_model("one", one)
    source = write_records(tmp_path / "in.jsonl", 3)
    await aiosmrt.batch.run(session, "one", source, tmp_path / "out.jsonl", records_per_request=3)
    for line in check_each_once(tmp_path / "out.jsonl", 3):
        assert line["error"]["type"] == "AnswerCountError"
        assert line["output"] is None


async def test_csv_in_and_out(local, session, model, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text('a,id,b\n1,x,2\n3,y,"4 ""and\n5"""\n')

    async def first(request: ModelRequest) -> ModelResponse:
        model.bodies.append(request)
        return ModelResponse(request.body.split(b",")[0], content_type="text/csv")

    local.add_model("first", first)
    out = tmp_path / "out.csv"
    await aiosmrt.batch.run(session, "first", source, out, key_field="id", header=True)
    with out.open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert {request.body for request in model.bodies} == {b"1,2", b'3,"4 ""and\n5"""'}
    assert {request.content_type for request in model.bodies} == {"text/csv"}
    assert list(rows) in (["x", "y"], ["y", "x"])
    assert (rows["x"]["index"], rows["x"]["output"]) == ("0", "1")
    assert rows["x"]["error_type"] == ""
    assert not (tmp_path / "out.csv.jsonl").exists()


async def test_parquet_in_and_out(session, model, tmp_path):
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": [f"k{n}" for n in range(600)], "n": range(600)}), source)
    out = tmp_path / "out.parquet"
    await aiosmrt.batch.run(session, "echo", source, out, key_field="id")
    rows = sorted(pq.read_table(out).to_pylist(), key=lambda row: row["index"])
    assert [row["key"] for row in rows] == [f"k{n}" for n in range(600)]
    assert json.loads(rows[7]["output"]) == {"id": "k7", "n": 7}
    assert rows[7]["error_type"] is None
    assert rows[7]["attempts"] == 1
    assert not list(tmp_path.glob("*.part"))


class Parsed:
    """How much JSON was parsed in this thread, between two turns of its loop at most."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self.most = self.all = 0

    def note(self, frame: Any, event: str, result: Any) -> None:
        if event == "return" and frame.f_code.co_name == "raw_decode" and result is not None:
            self._now += result[1] - frame.f_locals["idx"]

    def turn(self) -> None:
        self.most = max(self.most, self._now)
        self.all += self._now
        self._now = 0
        self._loop.call_soon(self.turn)


@pytest.mark.parametrize("size", [1, 2])
async def test_a_long_answer_is_parsed_in_several_turns_of_the_loop(local, session, tmp_path, size):
    row = '{"a": [1.50, "b"], "c": null}'
    element = f"[{','.join([row] * 30_000)}]"
    body = element if size == 1 else f'{{"predictions": [{element}, {element}]}}'

    async def answer(_: ModelRequest) -> ModelResponse:
        return ModelResponse(body.encode(), content_type="application/json")

    local.add_model("long", answer)
    source, out = write_records(tmp_path / "in.jsonl", 2 * size), tmp_path / "out.jsonl"
    parsed = Parsed()
    parsed.turn()
    sys.setprofile(parsed.note)
    try:
        await aiosmrt.batch.run(session, "long", source, out, records_per_request=size)
    finally:
        sys.setprofile(None)
    assert [line["output"] for line in read_lines(out)] == [json.loads(element)] * 2 * size
    assert parsed.all > len(body)
    assert parsed.most < 4 * 65_536


@pytest.mark.parametrize("size, output", [(1, ["x" * 140_000]), (2, "x" * 140_000)])
async def test_a_long_list_of_one_is_the_answer_to_one_alone(
    local, session, tmp_path, size, output
):
    async def answer(_: ModelRequest) -> list[str]:
        return ["x" * 140_000]

    local.add_model("list", answer)
    source, out = write_records(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "list", source, out, records_per_request=size)
    assert [line["output"] for line in read_lines(out)] == [output]


@pytest.mark.parametrize("records_per_request", [1, 3])
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
async def test_numbers_keep_their_text_from_the_input_to_the_table(
    session, tmp_path, name, records_per_request
):
    texts = ["1.10", "1e400", "1E5", "-0", "0.30", "1234567890123456789012345678901.23", "[1.0]"]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f'{{"id": {text}, "x":{text}}}\n' for text in texts))
    out = tmp_path / name
    await aiosmrt.batch.run(
        session, "echo", source, out, key_field="id", records_per_request=records_per_request
    )
    outputs = {text: f'{{"id": {text}, "x":{text}}}' for text in texts}
    if name == "out.jsonl":
        lines = out.read_text().splitlines()
        for key, output in outputs.items():
            (line,) = [line for line in lines if line.startswith(f'{{"key": {key}, ')]
            assert f'"output": {output}, ' in line
    elif name == "out.csv":
        with out.open(newline="") as file:
            assert {row["key"]: row["output"] for row in csv.DictReader(file)} == outputs
    else:
        rows = pq.read_table(out).to_pylist()
        assert {row["key"]: row["output"] for row in rows} == outputs


# Around what json reads and writes on each version of Python, and how deep the stack is already.
LEVELS = [*range(965, 1000), *range(1475, 1503), *range(9980, 10_002), 50_000]


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def indices_and_errors(out: Path) -> dict[int, bool]:
    """What lines of any depth are of, and whether they tell an error."""
    found = re.findall(rb'"index": (\d+), .*"error": (null|\{)', out.read_bytes())
    return {int(index): error != b"null" for index, error in found}


async def test_records_of_any_depth_cost_no_others(session, tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f'{{"id": {nested(n)}, "n": {n}}}\n{n}\n' for n in LEVELS))
    given: dict[str, Any] = {"key_field": "id", "report": tmp_path / "report.html"}
    summary = await aiosmrt.batch.run(session, "echo", source, out, **given)
    assert summary.is_complete
    assert summary.errors.keys() == {"RecordFaultError"}
    assert re.fullmatch(r"line \d+ .* is nested too deeply", summary.messages["RecordFaultError"])
    told = indices_and_errors(out)
    assert sorted(told) == list(range(2 * len(LEVELS)))
    assert not any(told[index] for index in range(1, len(told), 2))
    assert not told[0]
    # And it goes on behind each line that is a deep one.
    lines = out.read_bytes().splitlines(keepends=True)
    deep = [number for number, line in enumerate(lines, 1) if line.count(b"[") > 900]
    for end in (len(lines), *deep[:: len(deep) // 5], deep[-1]):
        out.write_bytes(b"".join(lines[:end]))
        done = await aiosmrt.batch.run(session, "echo", source, out, resume=True, key_field="id")
        assert (done.skipped, done.failed) == (end, summary.failed)
    given |= {"resume": True, "retry_failed": True}
    again = await aiosmrt.batch.run(session, "echo", source, out, **given)
    assert (again.skipped, again.failed) == (len(told) - summary.failed, summary.failed)
    assert sorted(indices_and_errors(out)) == list(range(2 * len(LEVELS)))


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
@pytest.mark.parametrize(
    "form", ["%s", "[1, %s, %s]", '{"predictions": [2,%s,%s]}'], ids=["one", "list", "predictions"]
)
async def test_answers_of_any_depth_cost_no_others(local, session, tmp_path, name, form):
    size = 1 if form == "%s" else 3

    async def answer(request: ModelRequest) -> ModelResponse:
        text = nested(json.loads(request.body.splitlines()[-1]))
        text = form % ((text,) * form.count("%s"))
        return ModelResponse(text.encode(), content_type="application/json")

    local.add_model("deep", answer)
    source, out = tmp_path / "in.jsonl", tmp_path / name
    source.write_text("".join(f"{n}\n" * size for n in LEVELS))
    count = size * len(LEVELS)
    for resume in (False, True):
        summary = await aiosmrt.batch.run(
            session, "deep", source, out, records_per_request=size, resume=resume
        )
        assert (summary.is_complete, summary.failed) == (True, 0)
    if name == "out.jsonl":
        assert list(indices_and_errors(out).values()) == [False] * count
        texts = re.findall(r'"output": "?(.*?)"?, "content_type"', out.read_text())
    elif name == "out.csv":
        with out.open(newline="") as file:
            texts = [row["output"] for row in csv.DictReader(file)]
    else:
        texts = pq.read_table(out)["output"].to_pylist()
    shallow = [form[form.find("[") + 1]] * len(LEVELS) if size > 1 else []
    deep = [nested(n) for n in LEVELS for _ in range(max(size - 1, 1))]
    assert sorted(texts) == sorted(shallow + deep)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
async def test_what_failed_is_told_by_a_later_run_too(session, tmp_path, name):
    source = tmp_path / "in.jsonl"
    source.write_text('"good"\n"bad"\n"bad"\n')
    for _ in range(2):
        summary = await aiosmrt.batch.run(session, "echo", source, tmp_path / name, resume=True)
        assert (summary.failed, summary.is_complete) == (2, True)


async def test_what_failed_is_tried_again_when_asked_for(local, session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 60)
    out = tmp_path / "out.jsonl"
    local.inject(error="ModelError", times=25)
    summary = await aiosmrt.batch.run(session, "echo", source, out, resume=True)
    assert summary.failed == 25
    good = [line for line in read_lines(out) if line["error"] is None]
    summary = await aiosmrt.batch.run(session, "echo", source, out, resume=True, retry_failed=True)
    assert (summary.skipped, summary.succeeded, summary.failed) == (35, 25, 0)
    assert check_each_once(out, 60)[:35] == good
    assert set(model.seen.values()) == {1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.jsonl",
        "out.jsonl",
        "out.jsonl.run",
    ]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o606])
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
async def test_a_link_and_the_permissions_of_its_file_stay(local, session, tmp_path, name, mode):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "way").symlink_to(real)
    out, target = tmp_path / name, real / name
    out.symlink_to(tmp_path / "way" / name)
    target.touch()
    target.chmod(mode)
    widest = 0

    async def answer(request: ModelRequest) -> bytes:
        nonlocal widest
        for path in real.iterdir():
            widest |= path.stat().st_mode & 0o777
        return request.body

    local.add_model("watch", answer)
    local.inject(error="ModelError", times=2)
    source = write_records(tmp_path / "in.jsonl", 9)
    before = os.umask(0)
    try:
        summary = await aiosmrt.batch.run(session, "watch", source, out)
        assert summary.failed == 2
        if name == "out.jsonl":
            given: dict[str, Any] = {"resume": True, "retry_failed": True}
            summary = await aiosmrt.batch.run(session, "watch", source, out, **given)
            assert summary.failed == 0
            check_each_once(target, 9)
    finally:
        os.umask(before)
    assert out.is_symlink()
    assert target.stat().st_mode & 0o777 == mode
    assert target.stat().st_size > 0
    assert widest == mode
    assert sorted(path.name for path in real.iterdir() if path.suffix != ".run") == [name]


async def test_a_finished_table_has_no_lines_to_try_again(session, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('"good"\n"bad"\n')
    given = {"session": session, "endpoint_name": "echo", "input": source, "resume": True}
    given["output"] = tmp_path / "out.csv"
    await aiosmrt.batch.run(**given)
    with pytest.raises(aiosmrt.ConfigurationError, match="is complete"):
        await aiosmrt.batch.run(**given, retry_failed=True)
    source.write_text('"good"\n')
    given["output"] = tmp_path / "none failed.csv"
    for _ in range(2):
        assert (await aiosmrt.batch.run(**given, retry_failed=True)).is_complete


async def test_a_table_that_a_crash_left_beside_its_journal_is_made_anew(session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 5)
    await aiosmrt.batch.run(session, "echo", source, tmp_path / "before.jsonl")
    (tmp_path / "before.jsonl").rename(tmp_path / "out.csv.jsonl")
    (tmp_path / "before.jsonl.run").rename(tmp_path / "out.csv.run")
    (tmp_path / "out.csv").write_text("key\n")
    summary = await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.csv", resume=True)
    assert (summary.skipped, summary.is_complete) == (5, True)
    assert set(model.seen.values()) == {1}
    with (tmp_path / "out.csv").open(newline="") as file:
        assert sorted(row["key"] for row in csv.DictReader(file)) == list("01234")
    assert not (tmp_path / "out.csv.jsonl").exists()


async def test_without_credentials_it_ends_and_can_be_resumed(local, session, model, tmp_path):
    class Provider:
        asked = 0

        async def get_credentials(self) -> aiosmrt.Credentials:
            self.asked += 1
            if self.asked > 100:
                raise aiosmrt.CredentialsError("the role is gone")
            return local.credentials

    source = write_records(tmp_path / "in.jsonl", 1_000)
    out = tmp_path / "out.jsonl"
    settings = {"endpoint_url": local.url, "region": local.region, "credentials": Provider()}
    async with aiosmrt.Session(**settings) as poor:
        with pytest.raises(aiosmrt.CredentialsError, match="the role is gone"):
            await aiosmrt.batch.run(poor, "echo", source, out, concurrency=8)
    assert 0 < len(read_lines(out)) <= 100
    assert all(line["error"] is None for line in read_lines(out))
    assert (await aiosmrt.batch.run(session, "echo", source, out, resume=True)).failed == 0
    check_each_once(out, 1_000)


async def test_cancelled_while_it_reads_its_files_it_gives_the_lock_back(
    session, tmp_path, monkeypatch
):
    source = write_records(tmp_path / "in.jsonl", 10)
    begun, go_on = threading.Event(), threading.Event()
    survey = JsonLinesFile.survey

    def slow(self, stopped):
        begun.set()
        assert go_on.wait(30)
        return survey(self, stopped)

    monkeypatch.setattr(JsonLinesFile, "survey", slow)
    given = (session, "echo", source, tmp_path / "out.jsonl")
    task = asyncio.ensure_future(aiosmrt.batch.run(*given))
    await until(begun.is_set)
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await aiosmrt.batch.run(*given)).is_complete


async def test_cancelled_while_it_passes_what_is_done_it_reads_no_further(
    session, tmp_path, monkeypatch
):
    source = write_records(tmp_path / "in.jsonl", 10)
    given = (session, "echo", source, tmp_path / "out.jsonl")
    await aiosmrt.batch.run(*given)
    begun = threading.Event()

    def endless(self, wanted):
        while True:
            begun.set()
            assert not wanted(0)
        yield

    monkeypatch.setattr(JsonLinesFile, "read", endless)
    task = asyncio.ensure_future(aiosmrt.batch.run(*given, resume=True))
    await until(begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_twice_while_it_writes_it_gives_the_lock_back(
    session, tmp_path, monkeypatch
):
    source = write_records(tmp_path / "in.jsonl", 10)
    begun, go_on = threading.Event(), threading.Event()
    sync = OutputFile.sync

    def slow(self):
        begun.set()
        assert go_on.wait(30)
        sync(self)

    monkeypatch.setattr(OutputFile, "sync", slow)
    monkeypatch.setattr("aiosmrt.batch._files.SYNC_SECONDS", 0.0)
    given = (session, "echo", source, tmp_path / "out.jsonl")
    task = asyncio.ensure_future(aiosmrt.batch.run(*given))
    await until(begun.is_set)
    task.cancel()
    await asyncio.wait([task], timeout=0.1)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    summary = None
    for _ in range(3_000):  # until the thread is through
        with contextlib.suppress(aiosmrt.ConfigurationError):
            summary = await aiosmrt.batch.run(*given, resume=True)
            break
        await asyncio.sleep(0.01)
    assert summary is not None
    assert summary.is_complete


async def test_what_progress_raises_ends_the_run(session, model, tmp_path):
    def progress(_: Any) -> None:
        raise ZeroDivisionError

    model.open.clear()
    source = write_records(tmp_path / "in.jsonl", 10)
    with pytest.raises(ZeroDivisionError):
        await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", progress=progress)


async def test_a_task_of_the_run_that_others_cancel_is_no_end(session, model, tmp_path):
    # As a program does that cancels all tasks but some.
    model.open.clear()
    source = write_records(tmp_path / "in.jsonl", 10)
    given = (session, "echo", source, tmp_path / "out.jsonl")
    others = asyncio.all_tasks()
    running = asyncio.create_task(aiosmrt.batch.run(*given, concurrency=4))
    await until(lambda: model.now == 4)
    for task in our_tasks() - others - {running}:
        task.cancel()
    with pytest.raises(RuntimeError, match="cancelled from outside: resume the run"):
        await running
    model.open.set()
    assert (await aiosmrt.batch.run(*given, resume=True)).is_complete


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
async def test_what_is_complete_is_not_sent_again(session, model, tmp_path, name):
    source = write_records(tmp_path / "in.jsonl", 10)
    for _ in range(2):
        summary = await aiosmrt.batch.run(session, "echo", source, tmp_path / name, resume=True)
    assert summary.skipped == 10
    assert summary.requests == 0
    assert summary.is_complete
    assert "10 were done before" in str(summary)
    assert set(model.seen.values()) == {1}


async def test_an_output_is_not_overwritten(session, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 2)
    out = tmp_path / "out.jsonl"
    out.write_bytes(b"")  # an empty file holds nothing to lose
    await aiosmrt.batch.run(session, "echo", source, out)
    before = out.read_bytes()
    with pytest.raises(aiosmrt.ConfigurationError, match="there already"):
        await aiosmrt.batch.run(session, "echo", source, out)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"accept": b"text/csv"}, aiosmrt.ParameterValidationError),
        ({"target_model": "\n"}, aiosmrt.ParameterValidationError),
        ({"acept": "text/csv"}, TypeError),
        ({"records_per_request": 0}, aiosmrt.ConfigurationError),
    ],
)
async def test_a_wrong_parameter_is_told_before_a_file_is_touched(session, tmp_path, wrong, error):
    source = write_records(tmp_path / "in.jsonl", 4)
    with pytest.raises(error, match=next(iter(wrong))):
        await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", **wrong)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    "change, word",
    [
        ({"key_field": "id"}, "key_field"),
        ({"content_type": "text/plain"}, "content_type"),
        ({"endpoint_name": "other"}, "endpoint_name"),
        ({"records_per_request": 2}, "records_per_request"),
        ({"target_model": "a"}, "target_model"),
    ],
)
async def test_other_parameters_are_refused(session, tmp_path, change, word):
    given = {
        "endpoint_name": "echo",
        "input": write_records(tmp_path / "in.jsonl", 4),
        "output": tmp_path / "out.jsonl",
        "resume": True,
    }
    await aiosmrt.batch.run(session, **given)
    with pytest.raises(aiosmrt.ConfigurationError, match=f"another .*{word}"):
        await aiosmrt.batch.run(session, **{**given, **change})


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("k1", "k9"),
        lambda text: text + '{"id": 7}\n',
        lambda text: "",
    ],
    ids=["a record", "longer", "empty"],
)
async def test_a_changed_input_is_refused(session, tmp_path, change: Callable[[str], str]):
    source = write_records(tmp_path / "in.jsonl", 4)
    await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl")
    source.write_text(change(source.read_text()))
    with pytest.raises(aiosmrt.ConfigurationError, match="another input"):
        await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", resume=True)


@pytest.mark.parametrize("records", [1_500, 900], ids=["longer", "shorter"])
async def test_an_input_that_changes_under_the_run_is_told_of(session, model, tmp_path, records):
    line = f'"{"x" * 5_000}"\n'.encode()
    source = tmp_path / "in.jsonl"
    source.write_bytes(line * 1_000)  # more than is read ahead at once
    out = tmp_path / "out.jsonl"
    model.open.clear()
    running = asyncio.create_task(aiosmrt.batch.run(session, "echo", source, out, concurrency=2))
    await until(lambda: model.now == 2)
    os.truncate(source, len(line) * min(records, 1_000))
    with source.open("ab") as file:
        file.write(line * (records - 1_000))
    model.open.set()
    with pytest.raises(aiosmrt.ConfigurationError, match="input was changed"):
        await running
    indices = [line["index"] for line in read_lines(out)]
    assert len(set(indices)) == len(indices)
    assert {0, 1} <= set(indices) <= set(range(1_000))


def _rewrite(source: Path, data: bytes) -> None:
    times = source.stat()
    with source.open("r+b") as file:
        file.write(data)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace(source: Path, data: bytes) -> None:
    (source.parent / "new").write_bytes(data)
    (source.parent / "new").replace(source)


def _append(source: Path, data: bytes) -> None:
    with source.open("ab") as file:
        file.write(data)


# What is read ahead is bounded by its bytes: a few long records are more.
LONG = b"x" * 40_000


@pytest.mark.parametrize(
    "form",
    [("out.jsonl", 100, b""), ("out.csv", 100, b""), ("out.jsonl", 60, LONG)],
    ids=["all is read", "all is read, a table", "not all is read"],
)
@pytest.mark.parametrize(
    "change",
    [_rewrite, _replace, _append, lambda source, data: source.unlink()],
    ids=["rewritten", "replaced", "appended", "removed"],
)
async def test_a_run_whose_input_changes_is_not_complete(session, model, tmp_path, change, form):
    name, count, text = form
    lines = [b'{"id": %05d, "text": "%b"}\n' % (n + 10_000, text) for n in range(count)]
    source, out = tmp_path / "in.jsonl", tmp_path / name
    source.write_bytes(b"".join(lines))
    given: dict[str, Any] = {"key_field": "id", "concurrency": 2}
    model.open.clear()
    running = asyncio.create_task(aiosmrt.batch.run(session, "echo", source, out, **given))
    await until(lambda: model.now == 2)
    change(source, b"".join(reversed(lines)))
    model.open.set()
    with pytest.raises(aiosmrt.ConfigurationError, match="the input was changed") as caught:
        await running
    assert "in.jsonl" in str(caught.value)
    assert set(model.seen.values()) == {1}
    written = out if name == "out.jsonl" else tmp_path / "out.csv.jsonl"
    assert len(told := read_lines(written)) >= 2
    assert all(line["key"] == 10_000 + line["index"] for line in told)
    # What it is now is another input; what it was goes on.
    if source.exists():
        with pytest.raises(aiosmrt.ConfigurationError, match="another input"):
            await aiosmrt.batch.run(session, "echo", source, out, resume=True, **given)
    source.write_bytes(b"".join(lines))
    summary = await aiosmrt.batch.run(session, "echo", source, out, resume=True, **given)
    assert summary.is_complete
    assert set(model.seen.values()) == {1}
    assert len(model.seen) == count


async def test_an_input_that_keeps_its_content_may_be_touched(session, model, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'"%b"\n' % LONG * 60)
    model.open.clear()
    running = asyncio.create_task(
        aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", concurrency=2)
    )
    await until(lambda: model.now == 2)
    _replace(source, source.read_bytes())
    source.chmod(0o600)
    os.utime(source)
    model.open.set()
    assert (await running).is_complete
    check_each_once(tmp_path / "out.jsonl", 60)


@pytest.mark.parametrize("size, at", [(1, 90), (10, 90), (1, 0)])
async def test_an_error_of_the_input_comes_after_the_records_before_it(
    session, tmp_path, monkeypatch, size, at
):
    source = write_records(tmp_path / "in.jsonl", 200)
    out = tmp_path / "out.jsonl"
    given = (session, "echo", source, out)
    read = JsonLinesFile.read

    def fail(self: JsonLinesFile, wanted: Callable[[int], bool]) -> Any:
        for record in read(self, wanted):
            if record.index == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield record

    with monkeypatch.context() as patch:
        patch.setattr(JsonLinesFile, "read", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            await aiosmrt.batch.run(*given, records_per_request=size)
    check_each_once(out, at)
    await aiosmrt.batch.run(*given, records_per_request=size, resume=True)
    check_each_once(out, 200)


@pytest.mark.parametrize("at", [0, 5])
async def test_an_error_of_an_input_that_was_changed_is_told_as_that(
    session, model, tmp_path, monkeypatch, at
):
    source = write_records(tmp_path / "in.jsonl", 9)
    read = JsonLinesFile.read

    def fail(self: JsonLinesFile, wanted: Callable[[int], bool]) -> Any:
        yield from itertools.islice(read(self, wanted), at)
        source.write_text("1\n")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(JsonLinesFile, "read", fail)
    with pytest.raises(aiosmrt.ConfigurationError, match=r"the input was changed .* to 2 bytes"):
        await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl")
    assert not model.bodies


@pytest.mark.parametrize("count, told", [(8, "it has fewer records"), (10, "it has more records")])
async def test_an_input_of_another_number_of_records_than_at_first_is_refused(
    session, tmp_path, monkeypatch, count, told
):
    # As after a change that the file's times do not show.
    source = write_records(tmp_path / "in.jsonl", 9)
    another = JsonLinesFile(write_records(tmp_path / "another.jsonl", count), None)
    read = JsonLinesFile.read
    monkeypatch.setattr(JsonLinesFile, "read", lambda _, wanted: read(another, wanted))
    with pytest.raises(aiosmrt.ConfigurationError, match=rf"the input was changed .*\({told}\)"):
        await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    "length, size, most",
    [(10, 1, 1_024), (10, 10, 1_030), (40_000, 1, 27), (262_142, 1, 5), (1_048_575, 1, 3)],
    ids=["by one", "by ten", "long", "as long as is read at once", "longer than that"],
)
async def test_so_many_records_are_read_ahead_and_no_more(  # noqa: PLR0917 - fixtures
    session, model, tmp_path, monkeypatch, length, size, most
):
    source = tmp_path / "in.jsonl"
    source.write_text(f'"{"x" * length}"\n' * (most + 100))
    read = JsonLinesFile.read
    ahead = 0

    def count(self: JsonLinesFile, wanted: Callable[[int], bool]) -> Any:
        nonlocal ahead
        for record in read(self, wanted):
            ahead += 1
            yield record

    monkeypatch.setattr(JsonLinesFile, "read", count)
    model.open.clear()
    given: dict[str, Any] = {"records_per_request": size, "concurrency": 3}
    running = asyncio.create_task(
        aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", **given)
    )
    await until(lambda: model.now == 3)
    await turns()
    assert ahead == most
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_lines_are_written_while_the_input_is_waited_for(session, tmp_path, monkeypatch):
    monkeypatch.setattr("aiosmrt.batch._files.SYNC_SECONDS", 0.0)  # each write is in a thread
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'"%b"\n' % LONG * 60)
    read = JsonLinesFile.read
    written = threading.Event()

    def wait(self: JsonLinesFile, wanted: Callable[[int], bool]) -> Any:
        for record in read(self, wanted):
            if record.index == 59:
                assert written.wait(30)
            yield record

    monkeypatch.setattr(JsonLinesFile, "read", wait)
    running = asyncio.create_task(aiosmrt.batch.run(session, "echo", source, out))
    await until(lambda: out.exists() and out.read_bytes().count(b"\n") == 54)
    written.set()
    assert (await running).is_complete


async def test_nobody_turns_while_a_thread_writes(session, model, tmp_path, monkeypatch):
    source, out = write_records(tmp_path / "in.jsonl", 60), tmp_path / "out.jsonl"
    begun, go_on = threading.Event(), threading.Event()
    append, asked = OutputFile.append, 0
    write = RunFiles.write

    def wait(self: OutputFile, lines: bytes) -> None:
        begun.set()
        assert go_on.wait(30)
        append(self, lines)

    def count(self: RunFiles) -> bool:
        nonlocal asked
        asked += 1
        return write(self)

    monkeypatch.setattr(OutputFile, "append", wait)
    monkeypatch.setattr("aiosmrt.batch._files.SYNC_SECONDS", 0.0)
    running = asyncio.create_task(aiosmrt.batch.run(session, "echo", source, out, concurrency=2))
    await until(begun.is_set)
    await until(lambda: model.now == 0)
    await turns()
    monkeypatch.setattr(RunFiles, "write", count)
    for _ in range(20):
        await turns()
    assert asked < 20
    go_on.set()
    assert (await running).is_complete


async def test_what_is_written_is_synced_before_another_answer_comes(
    local, session, model, tmp_path, monkeypatch
):
    async def hold_the_second(request: ModelRequest) -> bytes:
        if request.body == b"2":
            await model.open.wait()
        return request.body

    local.add_model("hold", hold_the_second)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("1\n2\n")
    out.touch()
    sizes: list[int] = []
    sync = os.fsync

    def observe(descriptor: int) -> None:
        sync(descriptor)
        if os.path.samestat(os.fstat(descriptor), out.stat()):
            sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", observe)
    model.open.clear()
    running = asyncio.create_task(aiosmrt.batch.run(session, "hold", source, out))
    await until(lambda: bool(sizes) and sizes[-1] > 0)
    assert out.read_bytes().count(b"\n") == 1
    model.open.set()
    await running


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
async def test_a_run_whose_files_lie_beside_the_link_is_not_overlooked(
    session, model, tmp_path, name, resume
):
    """So earlier versions left them; what is done would be sent again."""
    real, link = tmp_path / "real", tmp_path / name
    real.mkdir()
    source = write_records(tmp_path / "in.jsonl", 9)
    await aiosmrt.batch.run(session, "echo", source, tmp_path / "before.jsonl")
    (tmp_path / "before.jsonl.run").rename(tmp_path / f"{name}.run")
    lines = "out.csv.jsonl" if name == "out.csv" else "real/out of the link.jsonl"
    (tmp_path / "before.jsonl").rename(tmp_path / lines)
    link.symlink_to(real / f"out of the link{link.suffix}")
    with pytest.raises(aiosmrt.ConfigurationError, match="earlier version") as caught:
        await aiosmrt.batch.run(session, "echo", source, link, resume=resume)
    assert set(model.seen.values()) == {1}
    moves = re.findall(r"(/\S+) to (/.+?)(?= and |;)", str(caught.value))
    assert len(moves) == (2 if name == "out.csv" else 1)
    for old, new in moves:
        (tmp_path / old).rename(new)
    # What lies beside the link later on is of no account.
    (tmp_path / f"{name}.run").write_text("old")
    summary = await aiosmrt.batch.run(session, "echo", source, link, resume=True)
    assert (summary.is_complete, summary.skipped) == (True, 9)
    assert set(model.seen.values()) == {1}


async def test_two_runs_on_one_output_are_refused(session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 4)
    given = (session, "echo", source, tmp_path / "out.jsonl")
    model.open.clear()
    first = asyncio.ensure_future(aiosmrt.batch.run(*given))
    await until(lambda: model.now == 4)
    before = descriptors()
    with pytest.raises(aiosmrt.ConfigurationError, match="another run is writing"):
        await aiosmrt.batch.run(*given, resume=True)
    assert descriptors() == before
    model.open.set()
    assert (await first).is_complete
    # And given back.
    assert (await aiosmrt.batch.run(*given, resume=True)).is_complete


@pytest.mark.parametrize(
    "first, second",
    [
        ("out.jsonl", "link.jsonl"),
        ("link.jsonl", "out.jsonl"),
        ("out.jsonl", "link to link.jsonl"),
        ("there.jsonl", "hard link.jsonl"),
        ("hard link.jsonl", "there.jsonl"),
        ("out.jsonl", "way/out.jsonl"),
        ("out.jsonl", "way/way/out.jsonl"),
        ("table.csv", "table.csv.jsonl"),
        ("table.csv.jsonl", "table.csv"),
        ("link.csv", "table.csv"),
        ("link.csv", "table.csv.jsonl"),
        ("table.csv.jsonl", "link.csv"),
        ("table.parquet", "way/table.parquet.jsonl"),
    ],
)
async def test_two_runs_on_one_file_by_two_names_are_refused(local, model, tmp_path, first, second):
    there = tmp_path / "there.jsonl"
    there.touch()
    (tmp_path / "hard link.jsonl").hardlink_to(there)
    for link, target in (
        ("link.jsonl", "out.jsonl"),
        ("link to link.jsonl", "way/link.jsonl"),
        ("link.csv", "way/table.csv"),
        ("way", "."),
    ):
        (tmp_path / link).symlink_to(target)
    source = write_records(tmp_path / "in.jsonl", 20)
    model.open.clear()
    one = {"input": source, "output": tmp_path / first, "concurrency": 4}
    async with child(local, **one) as process:
        await until(lambda: model.now == 4)
        async with child(local, **{**one, "output": tmp_path / second}) as another:
            told = await outcome(another)
        assert told["error"] == "ConfigurationError"
        assert "another run is writing" in told["text"]
        assert model.now == 4
        model.open.set()
        summary = await outcome(process)
    assert (summary["is_complete"], summary["succeeded"]) == (True, 20)
    assert set(model.seen.values()) == {1}
    if first.endswith("jsonl"):
        check_each_once(tmp_path / first, 20)
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "link.jsonl").is_symlink()


async def test_failed_lines_that_are_given_up_leave_no_gap_in_the_lock(local, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 20)
    out = tmp_path / "out.csv.jsonl"
    local.inject(error="ModelError", times=5)
    given = {"input": source, "output": out, "concurrency": 4}
    async with child(local, **given) as process:
        assert (await outcome(process))["failed"] == 5
    model.open.clear()
    async with child(local, retry_failed=True, **given) as process:
        await until(lambda: model.now == 4)
        async with child(local, **{**given, "output": tmp_path / "out.csv"}) as another:
            assert "another run is writing" in (await outcome(another))["text"]
        model.open.set()
        assert (await outcome(process))["failed"] == 0
    check_each_once(out, 20)


@pytest.mark.parametrize(
    "tail",
    [b'{"key": 1, "ind', b'{"key": "\xc3', b"\0" * 5000, b"{}", b"x" * 100_000],
    ids=["cut", "cut in a character", "zeros", "no line", "long"],
)
async def test_a_torn_last_line_is_mended(session, model, tmp_path, tail):
    source = write_records(tmp_path / "in.jsonl", 6)
    out = tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "echo", source, out)
    whole = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(whole[:4]) + tail)
    summary = await aiosmrt.batch.run(session, "echo", source, out, resume=True)
    assert summary.skipped == 4
    check_each_once(out, 6)
    assert out.read_bytes().startswith(b"".join(whole[:4]))
    assert sum(model.seen.values()) == 8


async def test_a_last_line_that_lacks_only_its_end_is_kept(session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 3)
    out = tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "echo", source, out)
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:2])[:-1])
    summary = await aiosmrt.batch.run(session, "echo", source, out, resume=True)
    assert summary.skipped == 2
    check_each_once(out, 3)


async def test_a_fault_before_the_last_line_is_not_ours_to_mend(session, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 3)
    out = tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "echo", source, out)
    lines = out.read_bytes().splitlines(keepends=True)
    for spoilt in (
        [lines[0], b"garbage\n", *lines[1:]],
        [lines[0], lines[0]],
        [lines[0].replace(b'"index": ', b'"index": 9')],
    ):
        out.write_bytes(b"".join(spoilt))
        with pytest.raises(aiosmrt.ConfigurationError, match="cannot be resumed: line"):
            await aiosmrt.batch.run(session, "echo", source, out, resume=True)
        assert out.read_bytes() == b"".join(spoilt)


async def test_without_its_run_file_an_output_is_refused(session, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 3)
    out = tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "echo", source, out)
    (tmp_path / "out.jsonl.run").write_text("{")
    with pytest.raises(aiosmrt.ConfigurationError, match="missing or broken"):
        await aiosmrt.batch.run(session, "echo", source, out, resume=True)


@pytest.mark.parametrize(
    "change, word",
    [
        ({"input": "in.txt"}, "in.txt"),
        ({"output": "out.xml"}, "out.xml"),
        ({"output": "in.jsonl"}, "must not be the input"),
        ({"output": "missing/out.jsonl"}, "missing does not exist"),
        ({"input": "missing.jsonl"}, "missing.jsonl"),
        ({"records_per_request": 0}, "records_per_request"),
        ({"header": True}, "CSV"),
        ({"input": "in.csv", "key_field": "id"}, "header"),
        ({"concurrency": 0}, "concurrency"),
        ({"rate": -1}, "rate"),
        ({"report": "in.jsonl"}, r"must not be .*in\.jsonl"),
        ({"report": "out.jsonl"}, r"must not be .*out\.jsonl"),
        ({"report": "linked.jsonl"}, r"must not be .*in\.jsonl"),
        ({"report": "out.jsonl.run"}, r"must not be .*out\.jsonl\.run"),
        ({"report": "out.jsonl.part"}, r"must not be .*out\.jsonl\.part"),
        ({"report": "way/out.jsonl.run"}, r"must not be .*out\.jsonl\.run"),
        ({"report": "out.csv.run", "output": "out.csv"}, r"must not be .*out\.csv\.run"),
        ({"report": "out.csv.jsonl", "output": "out.csv"}, r"must not be .*out\.csv\.jsonl"),
        ({"report": "out.csv.part", "output": "out.csv"}, r"must not be .*out\.csv\.part"),
        ({"report": "out.csv.jsonl.part", "output": "out.csv"}, r"must not be .*jsonl\.part"),
        ({"report": "dangling.run"}, r"must not be .*out\.jsonl\.run"),
        ({"report": "out.jsonl.run", "output": "dangling.jsonl"}, r"must not be .*jsonl\.run"),
        ({"report": "out.jsonl", "output": "dangling.jsonl"}, r"must not be .*out\.jsonl"),
        ({"output": "run.jsonl", "input": "run.jsonl.run.jsonl"}, "must not be the input"),
        ({"report": "missing/report.html"}, "missing does not exist"),
        ({"output": "linked.jsonl"}, "must not be the input"),
        ({"retry_failed": True}, "goes with resume"),
    ],
)
async def test_what_cannot_work_is_told_before_anything_is_sent(
    session, model, tmp_path, change, word
):
    for name in ("in.jsonl", "in.txt", "in.csv"):
        write_records(tmp_path / name, 1)
    (tmp_path / "linked.jsonl").hardlink_to(tmp_path / "in.jsonl")
    (tmp_path / "way").symlink_to(tmp_path)
    (tmp_path / "dangling.run").symlink_to("way/out.jsonl.run")
    (tmp_path / "dangling.jsonl").symlink_to("way/out.jsonl")
    (tmp_path / "run.jsonl.run").touch()
    (tmp_path / "run.jsonl.run.jsonl").symlink_to("run.jsonl.run")
    before = (tmp_path / "in.jsonl").read_bytes()
    given = {"input": "in.jsonl", "output": "out.jsonl", **change}
    given |= {
        name: tmp_path / given[name] for name in ("input", "output", "report") if name in given
    }
    with pytest.raises(aiosmrt.ConfigurationError, match=word):
        await aiosmrt.batch.run(session, "echo", **given)
    assert not model.bodies
    assert (tmp_path / "in.jsonl").read_bytes() == before


async def test_without_matplotlib_a_report_is_refused_before_anything_is_sent(
    session, model, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    source = write_records(tmp_path / "in.jsonl", 1)
    given: dict[str, Any] = {"report": tmp_path / "report.html"}
    with pytest.raises(aiosmrt.ConfigurationError, match=r"aiosmrt\[report\]"):
        await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", **given)
    assert not model.bodies


async def test_cancelled_it_leaves_what_can_be_resumed(session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 400)
    out = tmp_path / "out.jsonl"
    rand = random.Random(3)
    for _ in range(4):
        task = asyncio.ensure_future(
            aiosmrt.batch.run(session, "echo", source, out, resume=True, concurrency=8)
        )
        start = sum(model.seen.values())
        await until(lambda start=start: sum(model.seen.values()) > start + rand.randrange(40, 60))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(read_lines(out)) >= 100
    await aiosmrt.batch.run(session, "echo", source, out, resume=True)
    check_each_once(out, 400)
    assert sum(model.seen.values()) <= 400 + 4 * 8


async def test_progress_is_told_on_the_way_and_at_the_end(session, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 50)
    model.open.clear()
    told: list[aiosmrt.batch.Progress] = []
    task = asyncio.ensure_future(
        aiosmrt.batch.run(
            session, "echo", source, tmp_path / "out.jsonl", progress=told.append, concurrency=5
        )
    )
    await until(lambda: told and told[-1].in_flight == 5)
    assert (told[-1].total, told[-1].done, told[-1].concurrency) == (50, 0, 5)
    assert told[-1].remaining is None
    model.open.set()
    await task
    assert (told[-1].done, told[-1].failed, told[-1].in_flight) == (50, 0, 0)
    assert told[-1].p50 is not None


async def test_progress_is_told_four_times_a_second(session, model, tmp_path, monkeypatch):
    clock, loop = LoopClock(monkeypatch), asyncio.get_running_loop()
    source = write_records(tmp_path / "in.jsonl", 3)
    told: list[float] = []

    def progress(_: aiosmrt.batch.Progress) -> None:
        told.append(loop.time())

    model.open.clear()
    running = asyncio.create_task(
        aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", progress=progress)
    )
    await until(lambda: told and model.now == 3)
    for _ in range(3):
        before = len(told)
        for _ in range(2):
            clock.advance(0.125)
            await turns()
        assert len(told) > before
    # A loop may fire a timer earlier than its time by as much as its clock can tell apart.
    assert all(later - earlier > 0.24 for earlier, later in pairwise(told))
    model.open.set()
    await running


async def test_the_report_is_one_page(session, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 20)
    report = tmp_path / "report.html"
    await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", report=report)
    text = report.read_text()
    assert "<svg" in text
    assert "Batch inference of in.jsonl" in text
    assert "20 of 20" in text


# In a process of its own, which is then ended in all the ways there are.


@pytest.mark.parametrize(
    "records, kills",
    [(400, 2), pytest.param(20_000, 3, marks=pytest.mark.slow)],
    ids=["400", "20000"],
)
async def test_killed_at_any_moment_it_loses_and_doubles_nothing(
    local, model, tmp_path, records, kills
):
    source = write_records(tmp_path / "in.jsonl", records)
    out = tmp_path / "out.jsonl"
    rand = random.Random(records)
    given = {"input": source, "output": out, "key_field": "id", "concurrency": 16}
    for kill in range(kills):
        goal = records * kill // kills + rand.randrange(1, records // kills)
        async with child(local, **given) as process:
            await until(lambda goal=goal: sum(model.seen.values()) >= goal, seconds=300)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await until(lambda: model.now == 0)
    async with child(local, **given) as process:
        summary = await outcome(process)
    lines = check_each_once(out, records)
    assert {line["key"] for line in lines} == {f"k{number}" for number in range(records)}
    assert all(line["output"] == {"id": line["key"], "n": line["index"]} for line in lines)
    assert summary["is_complete"]
    # Sent again was only what was under way when it was killed.
    assert len(model.seen) == records
    assert sum(model.seen.values()) <= records + kills * 16


@pytest.mark.parametrize("offset", [0, 1, 60, 119, 120, 121, 1_000])
async def test_killed_within_a_write_of_several_lines_it_keeps_the_whole_ones(
    local, model, tmp_path, offset
):
    source = write_records(tmp_path / "in.jsonl", 200)
    out = tmp_path / "out.jsonl"
    given = {"input": source, "output": out, "key_field": "id", "concurrency": 16}
    async with child(local, dies_at=3_000 + offset, **given) as process:
        await process.wait()
    assert process.returncode == -signal.SIGKILL
    data = out.read_bytes()
    assert len(data) == 3_000 + offset
    whole = data[: data.rindex(b"\n") + 1]
    await until(lambda: model.now == 0)
    # Every record that was sent has its line, except those that count as under way.
    assert sum(model.seen.values()) <= whole.count(b"\n") + 16
    async with child(local, **given) as process:
        assert (await outcome(process))["is_complete"]
    check_each_once(out, 200)
    assert out.read_bytes().startswith(whole)
    assert sum(model.seen.values()) <= 200 + 16


@pytest.mark.parametrize(
    "size, length",
    [(1, 0), (3, 0), (1, 100_000)],
    ids=["one", "three", "written in a thread"],
)
async def test_no_more_than_the_concurrency_is_sent_and_unwritten(
    local, tmp_path, monkeypatch, size, length
):
    # However a crash would cut the run, only so many requests would be sent again.
    monkeypatch.setattr("aiosmrt.batch._files.SYNC_SECONDS", 0.01)
    source = write_records(tmp_path / "in.jsonl", 300)
    out = tmp_path / "out.jsonl"
    sent = 0
    most = 0

    async def answer(request: ModelRequest) -> ModelResponse:
        nonlocal sent, most
        sent += len(request.body.splitlines())
        most = max(most, sent - out.read_bytes().count(b"\n"))
        await asyncio.sleep(0)
        tail = b" " * length
        return ModelResponse(request.body.rstrip() + tail, content_type="application/x-ndjson")

    local.add_model("count", answer)
    async with local.session() as session:
        await aiosmrt.batch.run(
            session, "count", source, out, concurrency=8, records_per_request=size
        )
    check_each_once(out, 300)
    assert size < most <= 8 * size


async def test_lines_of_one_turn_are_written_together(local, session, tmp_path, monkeypatch):
    source = write_records(tmp_path / "in.jsonl", 64)
    arrived = 0
    all_are_there = asyncio.Event()

    async def answer(request: ModelRequest) -> bytes:
        nonlocal arrived
        arrived += 1
        if arrived == 16:
            all_are_there.set()
        await all_are_there.wait()
        return request.body

    local.add_model("together", answer)
    writes: list[int] = []
    append = OutputFile.append

    def observe(self: OutputFile, lines: bytes) -> None:
        writes.append(lines.count(b"\n"))
        append(self, lines)

    monkeypatch.setattr(OutputFile, "append", observe)
    out = tmp_path / "out.jsonl"
    await aiosmrt.batch.run(session, "together", source, out, concurrency=16)
    check_each_once(out, 64)
    assert sum(writes) == 64
    assert max(writes) > 1


@pytest.mark.parametrize("size", [1, 10])
async def test_others_get_their_turn_while_bad_records_are_refused(
    session, tmp_path, monkeypatch, size
):
    source = tmp_path / "in.jsonl"
    source.write_text("no JSON\n" * 3_000 + "1\n")
    out = tmp_path / "out.jsonl"
    turns: list[int] = []
    refused = writes = 0
    refuse, append = RunFiles.append, OutputFile.append

    def count_refused(self: RunFiles, lines: list[bytes]) -> None:
        nonlocal refused
        refused += len(lines)
        refuse(self, lines)

    def count_writes(self: OutputFile, lines: bytes) -> None:
        nonlocal writes
        writes += 1
        append(self, lines)

    async def watch() -> None:
        while True:
            turns.append(refused)
            await asyncio.sleep(0)

    monkeypatch.setattr(RunFiles, "append", count_refused)
    monkeypatch.setattr(OutputFile, "append", count_writes)
    watching = asyncio.ensure_future(watch())
    await aiosmrt.batch.run(session, "echo", source, out, records_per_request=size)
    watching.cancel()
    check_each_once(out, 3_001)
    assert max(after - before for before, after in pairwise(turns)) < 64 + size
    # And their lines are written together.
    assert writes < 3_000 / 10


async def test_what_progress_tells_of_is_written(session, tmp_path, monkeypatch):
    monkeypatch.setattr("aiosmrt.batch._runner.PROGRESS_SECONDS", 0.0)
    source = write_records(tmp_path / "in.jsonl", 200)
    out = tmp_path / "out.jsonl"
    told: list[int] = []

    def progress(progress: aiosmrt.batch.Progress) -> None:
        assert out.read_bytes().count(b"\n") == progress.done
        told.append(progress.done)

    await aiosmrt.batch.run(session, "echo", source, out, progress=progress, concurrency=8)
    assert told[-1] == 200
    assert len(set(told)) > 5


async def test_cancelled_before_its_lines_are_written_it_writes_them(
    session, model, tmp_path, monkeypatch
):
    source = write_records(tmp_path / "in.jsonl", 100)
    out = tmp_path / "out.jsonl"
    given = (session, "echo", source, out)
    append = RunFiles.append
    handed_over = 0

    def cancel_at_the_tenth(self: RunFiles, lines: list[bytes]) -> None:
        nonlocal handed_over
        append(self, lines)
        handed_over += 1
        if handed_over == 10:
            task.cancel()

    monkeypatch.setattr(RunFiles, "append", cancel_at_the_tenth)
    task = asyncio.ensure_future(aiosmrt.batch.run(*given, concurrency=8))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(read_lines(out)) == handed_over >= 10
    await aiosmrt.batch.run(*given, resume=True)
    check_each_once(out, 100)


async def test_cancelled_with_all_tasks_while_a_thread_writes_it_mixes_no_lines(
    local, session, tmp_path, monkeypatch
):
    # As `asyncio.run` does at its end.
    begun, go_on, answer_the_others = threading.Event(), threading.Event(), asyncio.Event()

    async def answer(request: ModelRequest) -> ModelResponse:
        if b"k0" not in request.body:
            await answer_the_others.wait()
        return ModelResponse(request.body, content_type="application/json")

    write, append = os.write, RunFiles.append
    handed_over = 0

    def stop_within_the_first_line(descriptor: int, data: bytes) -> int:
        if bytes(data[:7]) != b'{"key":' or begun.is_set():
            return write(descriptor, data)
        written = write(descriptor, data[:20])
        begun.set()
        assert go_on.wait(30)
        return written

    def count(self: RunFiles, lines: list[bytes]) -> None:
        nonlocal handed_over
        append(self, lines)
        handed_over += 1

    local.add_model("hold", answer)
    monkeypatch.setattr(os, "write", stop_within_the_first_line)
    monkeypatch.setattr(RunFiles, "append", count)
    monkeypatch.setattr("aiosmrt.batch._files.SYNC_SECONDS", 0.0)  # each write is in a thread
    source = write_records(tmp_path / "in.jsonl", 100)
    out = tmp_path / "out.jsonl"
    others = asyncio.all_tasks()
    running = asyncio.ensure_future(aiosmrt.batch.run(session, "hold", source, out, concurrency=8))
    await until(begun.is_set)
    answer_the_others.set()
    await until(lambda: handed_over == 8)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    asyncio.get_running_loop().call_later(0.1, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {line["index"] for line in read_lines(out)} == set(range(8))
    assert len(read_lines(out)) == 8
    async with local.session() as another:  # the endpoint's tasks were cancelled too
        await aiosmrt.batch.run(another, "hold", source, out, resume=True)
    check_each_once(out, 100)


@pytest.mark.parametrize("is_in_a_thread", [False, True])
async def test_whatever_a_write_raises_ends_the_run(session, tmp_path, monkeypatch, is_in_a_thread):
    append = OutputFile.append
    writes = 0

    def fail_at_the_third(self: OutputFile, lines: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == 3:
            raise MemoryError
        append(self, lines)

    if is_in_a_thread:
        monkeypatch.setattr("aiosmrt.batch._files.SYNC_SECONDS", 0.0)
    source = write_records(tmp_path / "in.jsonl", 100)
    out = tmp_path / "out.jsonl"
    given = (session, "echo", source, out)
    with monkeypatch.context() as patch:
        patch.setattr(OutputFile, "append", fail_at_the_third)
        with pytest.raises(MemoryError):
            await aiosmrt.batch.run(*given, concurrency=8)
    assert writes == 3
    assert (await aiosmrt.batch.run(*given, resume=True)).is_complete
    check_each_once(out, 100)


async def test_a_journal_that_lacks_lines_becomes_no_table(session, tmp_path, monkeypatch):
    append = OutputFile.append
    lost = 0

    def lose_the_first(self: OutputFile, lines: bytes) -> None:
        nonlocal lost
        if lost:
            append(self, lines)
        else:
            lost = lines.count(b"\n")

    source = write_records(tmp_path / "in.jsonl", 100)
    given = (session, "echo", source, tmp_path / "out.csv")
    with monkeypatch.context() as patch:
        patch.setattr(OutputFile, "append", lose_the_first)
        with pytest.raises(aiosmrt.batch.OutputError, match=r"out\.csv\.jsonl.*not 100"):
            await aiosmrt.batch.run(*given, concurrency=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.jsonl",
        "out.csv.jsonl",
        "out.csv.run",
    ]
    summary = await aiosmrt.batch.run(*given, resume=True)
    assert (summary.succeeded, summary.is_complete) == (lost, True)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert {row["index"] for row in csv.DictReader(file)} == set(map(str, range(100)))


async def test_a_failed_write_does_not_wait_for_the_calls_under_way(local, tmp_path, monkeypatch):
    async def answer(request: ModelRequest) -> bytes:
        if request.body != b"1":
            await asyncio.Event().wait()
        return request.body

    def fail(self: OutputFile, _: bytes) -> None:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise aiosmrt.batch.OutputError(self.path, error)

    local.add_model("hold", answer)
    source = tmp_path / "in.jsonl"
    source.write_text("1\n2\n3\n")
    async with local.session() as session:
        monkeypatch.setattr(OutputFile, "append", fail)
        with pytest.raises(aiosmrt.batch.OutputError, match="No space"):
            await aiosmrt.batch.run(session, "hold", source, tmp_path / "out.jsonl")


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def handlers() -> Iterator[Callable[..., None]]:
    """A program's own handler of both signals."""

    def handle(*_: object) -> None:
        raise AssertionError("the signal was for the run")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
async def test_the_signals_are_the_programs_again_after_the_run(session, tmp_path, handlers, error):
    def progress(_: Any) -> None:
        during.update(signal.getsignal(number) for number in SIGNALS)
        if error is not None:
            raise error

    during: set[Any] = set()
    source = write_records(tmp_path / "in.jsonl", 3)
    given: dict[str, Any] = {"handle_signals": True, "progress": progress}
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        await aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", **given)
    assert handlers not in during
    assert len(during) == 1
    assert [signal.getsignal(number) for number in SIGNALS] == [handlers] * 2


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
async def test_after_a_signal_what_is_under_way_is_waited_for(  # noqa: PLR0917 - fixtures
    session, model, tmp_path, monkeypatch, number, name
):
    clock = LoopClock(monkeypatch)
    source, out = write_records(tmp_path / "in.jsonl", 30), tmp_path / name
    model.open.clear()
    given: dict[str, Any] = {"handle_signals": True, "drain_timeout": 1_000.0}
    running = asyncio.create_task(
        aiosmrt.batch.run(session, "echo", source, out, concurrency=4, **given)
    )
    await until(lambda: model.now == 4)
    signal.raise_signal(number)
    await turns()
    assert not running.done()
    model.open.set()
    summary = await running
    assert (summary.signal, summary.succeeded, summary.is_complete) == (number, 4, False)
    assert len(model.bodies) == 4
    assert out.exists() == (name == "out.jsonl")
    # No timer keeps the run until the time is up that it might have waited.
    clock.advance(900.0)
    left = clock.pending  # the local endpoint's own, which it sets again and again
    clock.advance(200.0)
    assert clock.pending == left
    assert (await aiosmrt.batch.run(session, "echo", source, out, resume=True)).skipped == 4


@pytest.mark.usefixtures("handlers")
async def test_progress_tells_that_a_signal_came(session, model, tmp_path, monkeypatch):
    monkeypatch.setattr("aiosmrt.batch._runner.PROGRESS_SECONDS", 0.0)
    source, told = write_records(tmp_path / "in.jsonl", 30), []
    model.open.clear()
    given: dict[str, Any] = {"handle_signals": True, "progress": told.append, "concurrency": 4}
    running = asyncio.create_task(
        aiosmrt.batch.run(session, "echo", source, tmp_path / "out.jsonl", **given)
    )
    await until(lambda: model.now == 4)
    assert {progress.is_stopping for progress in told} == {False}
    signal.raise_signal(signal.SIGTERM)
    await until(lambda: told[-1].is_stopping)
    model.open.set()
    assert (await running).succeeded == 4


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("ending", ["cancelled", "signal", "error"])
async def test_a_run_that_ends_early_leaves_its_input_closed(session, model, tmp_path, ending):
    def is_open(path: Path) -> bool:
        for descriptor in descriptors():
            with contextlib.suppress(OSError):  # the one that lists them
                if os.path.samestat(os.fstat(int(descriptor.name)), path.stat()):
                    return True
        return False

    def progress(_: Any) -> None:
        if ending == "error" and model.now:
            raise ZeroDivisionError

    source = tmp_path / "in.jsonl"
    source.write_bytes(b'"%b"\n' % LONG * 60)
    model.open.clear()
    given: dict[str, Any] = {"drain_timeout": 0.0, "progress": progress, "concurrency": 2}
    gc.disable()
    try:
        running = asyncio.create_task(
            aiosmrt.batch.run(
                session, "echo", source, tmp_path / "out.jsonl", handle_signals=True, **given
            )
        )
        await until(lambda: model.now)
        assert is_open(source)
        if ending == "signal":
            signal.raise_signal(signal.SIGTERM)
        elif ending == "cancelled":
            running.cancel()
        await asyncio.wait([running])
        assert not is_open(source)
    finally:
        gc.enable()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("signals, timeout", [(2, 1_000.0), (1, 0.0)], ids=["twice", "too long"])
async def test_the_wait_after_a_signal_ends(session, model, tmp_path, signals, timeout):
    source, out = write_records(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    model.open.clear()
    given: dict[str, Any] = {"handle_signals": True, "drain_timeout": timeout}
    running = asyncio.create_task(
        aiosmrt.batch.run(session, "echo", source, out, concurrency=4, **given)
    )
    await until(lambda: model.now == 4)
    for number in (signal.SIGTERM, signal.SIGINT)[:signals]:
        signal.raise_signal(number)
        await turns()
    summary = await running
    assert (summary.signal, summary.succeeded, summary.is_complete) == (signal.SIGTERM, 0, False)
    assert read_lines(out) == []


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
async def test_a_signal_drains_what_is_under_way(local, model, tmp_path, number):
    source = write_records(tmp_path / "in.jsonl", 300)
    out = tmp_path / "out.jsonl"
    given = {"input": source, "output": out, "concurrency": 8, "handle_signals": True}
    async with child(local, **given) as process:
        await until(lambda: sum(model.seen.values()) > 40)
        model.open.clear()
        await until(lambda: model.now == 8)
        process.send_signal(number)
        assert await process.stdout.readline() == b"stopping\n"
        # Nothing new begins; the eight are answered, and written.
        model.open.set()
        summary = await outcome(process)
    sent = sum(model.seen.values())
    assert (summary["is_complete"], summary["signal"]) == (False, number)
    assert len(read_lines(out)) == sent == summary["succeeded"]
    assert sent < 300
    async with child(local, **given) as process:
        assert (await outcome(process))["is_complete"]
    check_each_once(out, 300)
    assert sum(model.seen.values()) == 300


@pytest.mark.parametrize(
    "signals, timeout",
    [(2, 1000.0), pytest.param(1, 1.0, marks=pytest.mark.slow)],
    ids=["twice", "too long"],
)
async def test_the_wait_of_a_signal_ends(local, model, tmp_path, signals, timeout):
    source = write_records(tmp_path / "in.jsonl", 30)
    out = tmp_path / "out.jsonl"
    given = {"input": source, "output": out, "concurrency": 4, "handle_signals": True}
    model.open.clear()
    async with child(local, drain_timeout=timeout, **given) as process:
        await until(lambda: model.now == 4)
        process.send_signal(signal.SIGTERM)
        assert await process.stdout.readline() == b"stopping\n"
        if signals == 2:
            process.send_signal(signal.SIGTERM)
        summary = await outcome(process)
    assert not summary["is_complete"]
    assert read_lines(out) == []
    model.open.set()
    async with child(local, **given) as process:
        assert (await outcome(process))["is_complete"]
    check_each_once(out, 30)


async def test_a_full_disk_stops_and_can_be_resumed(local, model, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 300)
    out = tmp_path / "out.jsonl"
    async with child(local, input=source, output=out, largest_file=10_000) as process:
        told = await outcome(process)
    assert told["error"] == "OutputError"
    assert "out.jsonl cannot be written" in told["text"]
    assert "resume" in told["text"]
    lines = read_lines(out)  # whole ones
    assert 0 < len(lines) < 300
    assert out.stat().st_size <= 10_000
    await until(lambda: model.now == 0)
    # It did not go on to send what it could not write.
    assert sum(model.seen.values()) <= len(lines) + 64
    async with child(local, input=source, output=out) as process:
        assert (await outcome(process))["skipped"] == len(lines)
    check_each_once(out, 300)
