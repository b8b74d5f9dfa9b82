"""Variants, containers, components, models and sessions: what a call is routed by."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest
from support.local_clients import send, send_signed
from support.work import counted_calls

from aiosmrt import ConfigurationError, ParameterValidationError
from aiosmrt.local import LocalEndpoint, ModelResponse

PATH = "/endpoints/e/invocations"


def named(name):
    async def handler(request):
        return name

    return handler


async def ask(local, body=b"x", **headers):
    sent = {f"X-Amzn-SageMaker-{name.replace('_', '-')}": v for name, v in headers.items()}
    status, answered, answer = await send_signed(local, PATH, body, sent)
    return status, answered, answer.decode()


async def test_traffic_is_split_by_weight(local):
    local.add_model("e", named("a"), variant="a", weight=3)
    local.add_model("e", named("b"), variant="b", weight=1)
    local.add_model("e", named("c"), variant="c", weight=0)
    answers = Counter()
    for _ in range(200):
        status, headers, body = await ask(local)
        assert (status, headers["x-Amzn-Invoked-Production-Variant"]) == (200, body)
        answers[body] += 1
    # A chance of under one in ten million to fall out of these.
    assert 110 <= answers["a"] <= 185
    assert answers["a"] + answers["b"] == 200


async def test_a_call_names_its_variant(local):
    local.add_model("e", named("a"), variant="a")
    local.add_model("e", named("b"), variant="b", weight=0)
    assert (await ask(local, Target_Variant="b"))[2] == "b"
    status, _, body = await ask(local, Target_Variant="c")
    assert status == 400
    assert json.loads(body)["Message"] == "Variant c of endpoint e not found."


async def test_variants_of_no_weight_share_alike(local):
    local.add_model("e", named("a"), variant="a", weight=0)
    local.add_model("e", named("b"), variant="b", weight=0)
    assert {(await ask(local))[2] for _ in range(60)} == {"a", "b"}


@pytest.mark.parametrize(
    "keyword, header, words",
    [
        ("container_hostname", "Target_Container_Hostname", "missing a target container hostname"),
        ("inference_component", "Inference_Component", "Inference Component Name header is requ"),
        ("target_model", "Target_Model", "missing a target model header"),
    ],
)
async def test_a_call_names_its_target(local, keyword, header, words):
    local.add_model("e", named("a"), **{keyword: "a"})
    local.add_model("e", named("b"), **{keyword: "b"})
    assert (await ask(local, **{header: "b"}))[2] == "b"
    status, headers, body = await ask(local)
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert words in json.loads(body)["Message"]
    status, _, body = await ask(local, **{header: "c"})
    assert status == 400
    assert json.loads(body)["Message"].endswith(" c of endpoint e not found.")


async def test_a_missing_component_has_the_services_code(local):
    local.add_model("e", named("a"), inference_component="a")
    _, _, body = await ask(local)
    assert json.loads(body)["ErrorCode"] == "INFERENCE_COMPONENT_NAME_MISSING"


async def test_kinds_of_targets_combine(local):
    for variant in "ab":
        for model in "xy":
            local.add_model("e", named(variant + model), variant=variant, target_model=model)
    assert (await ask(local, Target_Variant="a", Target_Model="y"))[2] == "ay"
    assert (await ask(local, Target_Model="x"))[2] in ("ax", "bx")


async def test_a_target_that_the_endpoint_has_no_kind_of_is_the_models_business(local):
    async def handler(request):
        return [request.target_variant, request.target_model]

    local.add_model("e", handler)
    _, headers, body = await ask(local, Target_Variant="v", Target_Model="m")
    assert json.loads(body) == ["v", "m"]
    assert headers["x-Amzn-Invoked-Production-Variant"] == "AllTraffic"


async def test_a_model_takes_the_place_of_one_named_alike(local):
    local.add_model("e", named("old"))
    local.add_model("e", named("a"), variant="a")
    local.add_model("e", named("new"))
    assert (await ask(local))[2] in ("new", "a")
    assert (await ask(local, Target_Variant="a"))[2] == "a"


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoint_name": "a/b"},
        {"endpoint_name": ""},
        {"variant": "-"},
        {"container_hostname": "a b"},
        {"inference_component": "é"},
        {"target_model": " a"},
    ],
    ids=str,
)
def test_names_that_the_service_does_not_take(arguments):
    name = arguments.pop("endpoint_name", "e")
    with pytest.raises(ParameterValidationError):
        LocalEndpoint().add_model(name, named("a"), **arguments)


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_weight_is_a_number(weight):
    with pytest.raises(ConfigurationError, match="weight"):
        LocalEndpoint().add_model("e", named("a"), weight=weight)


class Sessions:
    """A stateful model."""

    def __init__(self, name, lasts=timedelta(hours=1)):
        self._name, self._lasts = name, lasts
        self._opened = 0

    async def __call__(self, request):
        if request.session_id == "NEW_SESSION":
            self._opened += 1
            expires = datetime.now(timezone.utc) + self._lasts
            return ModelResponse(
                b"",
                new_session_id=f"{self._name}-{self._opened}; Expires={expires:%Y-%m-%dT%H:%M:%SZ}",
            )
        closed = request.session_id if request.body == b"close" else None
        return ModelResponse(f"{self._name} {request.session_id}", closed_session_id=closed)


async def opened(local):
    _, headers, _ = await ask(local, Session_Id="NEW_SESSION")
    return headers["X-Amzn-SageMaker-New-Session-Id"].partition(";")[0]


async def test_a_session_stays_with_the_model_that_opened_it(local):
    for name in "ab":
        local.add_model("e", Sessions(name), variant=name)
    ids = {await opened(local) for _ in range(40)}
    assert len(ids) == 40
    assert {session_id[0] for session_id in ids} == {"a", "b"}
    for session_id in ids:
        assert (await ask(local, Session_Id=session_id))[2] == f"{session_id[0]} {session_id}"


async def test_a_session_that_was_closed(local):
    local.add_model("e", Sessions("a"))
    session_id = await opened(local)
    _, headers, _ = await ask(local, b"close", Session_Id=session_id)
    assert headers["X-Amzn-SageMaker-Closed-Session-Id"] == session_id
    status, headers, body = await ask(local, Session_Id=session_id)
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert json.loads(body)["Message"].startswith(f"Session {session_id} not found")


async def test_a_session_that_was_never_opened(local):
    local.add_model("e", Sessions("a"))
    assert (await ask(local, Session_Id="strange"))[2] == "a strange"  # the model's business
    await opened(local)
    assert (await ask(local, Session_Id="strange"))[0] == 400


async def test_a_session_that_has_expired(local):
    local.add_model("e", Sessions("a", lasts=timedelta(seconds=-1)))
    session_id = await opened(local)
    assert (await ask(local, Session_Id=session_id))[0] == 400


async def test_an_expiry_without_meaning_is_none(local):
    async def handler(request):
        return ModelResponse(b"in", new_session_id="abc; Expires=soon")

    local.add_model("e", handler)
    assert await opened(local) == "abc"
    assert (await ask(local, Session_Id="abc"))[2] == "in"


async def test_sessions_are_their_endpoints_own(local):
    local.add_model("e", Sessions("a"))
    local.add_model("other", Sessions("b"))
    session_id = await opened(local)
    status, _, body = await send_signed(
        local,
        "/endpoints/other/invocations",
        b"x",
        {"X-Amzn-SageMaker-Session-Id": session_id},
    )
    assert (status, body.decode()) == (200, f"b {session_id}")


async def test_the_oldest_sessions_are_given_up(local, monkeypatch):
    monkeypatch.setattr("aiosmrt.local._sessions._MAX_SESSIONS", 2)
    local.add_model("e", Sessions("a"))
    ids = [await opened(local) for _ in range(3)]
    statuses = [(await ask(local, Session_Id=session_id))[0] for session_id in ids]
    assert statuses == [400, 200, 200]


TARGETS = {
    "variant": "Target-Variant",
    "container_hostname": "Target-Container-Hostname",
    "inference_component": "Inference-Component",
    "target_model": "Target-Model",
}


@pytest.mark.parametrize("keyword", TARGETS)
async def test_models_cost_no_more_where_there_are_many(keyword):
    """To add one, and to call one."""

    async def costs(count):
        async with LocalEndpoint(verify=False) as local:
            with counted_calls() as adding:
                for number in range(count):
                    local.add_model("e", named(f"n{number}"), **{keyword: f"n{number}"})
            headers = {f"X-Amzn-SageMaker-{TARGETS[keyword]}": f"n{count - 1}"}
            with counted_calls() as calling:
                for _ in range(5):
                    status, _, answer = await send(local, PATH, b"x", headers)
                    assert (status, answer.decode()) == (200, f"n{count - 1}")
        return adding.count, calling.count

    await costs(1)
    (adding, calling), (adding_more, calling_more) = await costs(250), await costs(1000)
    assert adding_more < 5 * adding
    assert calling_more < 1.5 * calling


async def test_calls_that_name_no_variant_cost_no_more_where_there_are_many():
    async def cost(count):
        async with LocalEndpoint(verify=False, seed=1) as local:
            for number in range(count):
                local.add_model("e", named("x"), variant=f"n{number}", weight=number)
            assert (await send(local, PATH, b"x"))[0] == 200
            with counted_calls() as calls:
                for _ in range(5):
                    assert (await send(local, PATH, b"x"))[0] == 200
        return calls.count

    assert await cost(4000) < 1.5 * await cost(250)
