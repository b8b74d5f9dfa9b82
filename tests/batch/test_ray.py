"""Rows of Ray Data through the local endpoint; by a real Ray in `nox -s ray`."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aiosmrt
from aiosmrt.batch.ray import InvokeEndpoint
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

COLUMNS = ["key", "output", "content_type"]
COLUMNS += ["error_type", "error_code", "error_message", "error_status_code"]
COLUMNS += ["attempts", "latency"]


class Doubler:
    """Doubles the ``n`` of each line; fails at each 99."""

    def __init__(self) -> None:
        self.seen: collections.Counter[int] = collections.Counter()
        self.types: set[str | None] = set()
        self.now = self.most = 0

    async def __call__(self, request: ModelRequest) -> ModelResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.01)
        finally:
            self.now -= 1
        self.types.add(request.content_type)
        records = [json.loads(line) for line in request.body.splitlines()]
        self.seen.update(record["n"] for record in records)
        if any(record["n"] % 100 == 99 for record in records):
            raise ModelFailure(400, "it is 99")
        answers = [json.dumps({"twice": 2 * record["n"]}) for record in records]
        return ModelResponse("\n".join(answers), content_type="application/jsonlines")


@pytest.fixture
def model(local: LocalEndpoint) -> Doubler:
    model = Doubler()
    local.add_model("double", model)
    return model


def settings(local: LocalEndpoint, **more: Any) -> dict[str, Any]:
    session = {"endpoint_url": local.url, "region": local.region}
    return {"endpoint_name": "double", "key_field": "id", "session": session, **more}


@pytest.fixture(autouse=True)
def _credentials(local: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, as they are where an actor runs: they are not for pickle."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", local.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", local.credentials.secret_access_key)


def table(count: int) -> pa.Table:
    return pa.table({"id": [f"k{number}" for number in range(count)], "n": range(count)})


async def answers(caller: InvokeEndpoint, batch: pa.Table) -> list[dict[str, Any]]:
    (answer,) = [each async for each in caller(batch)]
    assert answer.column_names == COLUMNS
    return answer.to_pylist()


@pytest.fixture
async def made(local: LocalEndpoint) -> AsyncIterator[Any]:
    callers = []

    def make(**more: Any) -> InvokeEndpoint:
        callers.append(InvokeEndpoint(**settings(local, **more)))
        return callers[-1]

    yield make
    for caller in callers:
        await caller.aclose()


async def test_two_columns_of_one_name_are_refused(made):
    batch = pa.table([pa.array(["a"]), pa.array([1]), pa.array([2])], ["id", "n", "n"])
    with pytest.raises(aiosmrt.ConfigurationError, match=r"columns 2 and 3 .* both named 'n'"):
        await answers(made(), batch)


@pytest.mark.parametrize("size", [1, 3])
async def test_each_row_has_its_answer_in_its_place(made, model, size):
    rows = await answers(made(records_per_request=size), table(50))
    assert [row["key"] for row in rows] == [f"k{number}" for number in range(50)]
    assert [json.loads(row["output"]) for row in rows] == [{"twice": 2 * n} for n in range(50)]
    assert {row["attempts"] for row in rows} == {1}
    assert model.types == {"application/json" if size == 1 else "application/jsonlines"}


async def test_a_row_that_fails_has_its_error_there(made, model):
    batch = pa.table({"id": ["a", "b", "c"], "n": [1.0, 99.0, float("nan")]})
    good, failed, faulty = await answers(made(), batch)
    assert (good["error_type"], failed["error_type"]) == (None, "ModelError")
    assert (failed["output"], failed["error_status_code"]) == (None, 424)
    assert "it is 99" in failed["error_message"]
    assert (faulty["error_type"], faulty["attempts"]) == ("RecordFaultError", 0)


async def test_it_retries_as_a_session_does(local, made, model):
    local.inject(error="ServiceUnavailable", times=3)
    rows = await answers(made(), table(8))
    assert {row["error_type"] for row in rows} == {None}
    assert sum(row["attempts"] for row in rows) == 11


async def test_batches_at_once_share_the_requests_at_once(made, model):
    caller = made(concurrency=5)
    await asyncio.gather(*(answers(caller, table(20)) for _ in range(4)))
    assert model.most == 5


async def test_an_empty_batch_has_the_same_columns(made):
    assert await answers(made(), table(0)) == []


async def test_what_cannot_work_is_told(local, made):
    with pytest.raises(aiosmrt.ConfigurationError, match="records_per_request"):
        made(records_per_request=0)
    with pytest.raises(aiosmrt.ParameterValidationError, match="target_variant"):
        made(target_variant="")
    with pytest.raises(TypeError, match="rate"):
        made(rate=3)
    with pytest.raises(aiosmrt.ConfigurationError, match='batch_format="pyarrow"'):
        await answers(made(), {"id": ["a"]})
    with pytest.raises(aiosmrt.ConfigurationError, match="no column 'id'"):
        await answers(made(), pa.table({"n": [1]}))


@pytest.fixture
def quiet_ray(_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_usage_stats_enabled", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # with it, Ray leaves a token in HOME
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 is for machines that do nothing else


@pytest.fixture
def ray(quiet_ray: None) -> Iterator[Any]:
    import ray

    # As many as its actors, its reading and its writing take; they are numbers, not cores.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield ray
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # what Ray warns of is Ray's
async def test_two_actors_of_ray(local, model, ray, tmp_path):
    class Caller(InvokeEndpoint):  # here, so that Ray sends it to its workers by value
        def __init__(self, session: dict[str, Any], **how: Any) -> None:
            session = {**session, "user_agent_extra": f"pid/{os.getpid()}"}
            super().__init__(session=session, **how)

    local.inject(error="ThrottlingException", times=5)
    parts = [table(1_000).slice(first, 125) for first in range(0, 1_000, 125)]

    def run() -> None:
        ray.data.DataContext.get_current().wait_for_min_actors_s = 300  # both, or one does it all
        ray.data.from_arrow(parts).map_batches(
            Caller,
            fn_constructor_kwargs=settings(local, concurrency=4, accept="application/jsonlines"),
            batch_format="pyarrow",
            batch_size=50,
            compute=ray.data.ActorPoolStrategy(size=2),
        ).write_parquet(str(tmp_path / "out"))

    await asyncio.to_thread(run)
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert sorted(row["key"] for row in rows) == sorted(f"k{number}" for number in range(1_000))
    for row in rows:
        number = int(row["key"][1:])
        if number % 100 == 99:
            assert row["error_type"] == "ModelError"
        else:
            assert json.loads(row["output"]) == {"twice": 2 * number}
    assert sum(row["attempts"] for row in rows) == 1_005
    # Nothing was sent twice but what was throttled, from two processes, each as told.
    assert set(model.seen.values()) == {1}
    assert len({request.headers["user-agent"] for request in local.received}) == 2
    assert model.most <= 8


@pytest.mark.ray
@pytest.mark.timeout(600)
async def test_the_example(local, model, quiet_ray, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", local.url)
    monkeypatch.setenv("AWS_REGION", local.region)
    (tmp_path / "in").mkdir()
    for part in range(4):
        pq.write_table(table(200).slice(part * 50, 50), tmp_path / "in" / f"{part}.parquet")
    script = Path(__file__).parents[2] / "examples" / "batch_ray.py"
    words = [str(script), "double", str(tmp_path / "in"), str(tmp_path / "out"), "id"]
    run = await asyncio.to_thread(subprocess.run, [sys.executable, *words], check=True)
    assert run.returncode == 0
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert sorted(row["key"] for row in rows) == sorted(f"k{number}" for number in range(200))
    assert set(model.seen.values()) == {1}
