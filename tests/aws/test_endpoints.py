"""Hosts: the table against botocore's rule set and clients, region by region."""

from __future__ import annotations

import io
import itertools

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.endpoint_provider import EndpointProvider, RuleSetStandardLibrary
from botocore.exceptions import EndpointVariantError
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt._aws.endpoints import PARTITIONS, is_known_region, partition_for, resolve_endpoint
from aiosmrt.errors import ConfigurationError

LOADER = botocore.session.Session().get_component("data_loader")
PARTITIONS_DATA = LOADER.load_data("partitions")
RULES = EndpointProvider(
    LOADER.load_service_model("sagemaker-runtime", "endpoint-rule-set-1"), PARTITIONS_DATA
)
REGIONS = sorted(
    {region for partition in PARTITIONS_DATA["partitions"] for region in partition["regions"]}
    | set(boto3.Session().get_available_regions("sagemaker-runtime"))
)
# Not in botocore's lists: what the patterns claim, and what nothing claims.
FURTHER = ["us-newtown-7", "cn-south-3", "us-gov-north-1", "eusc-fr-west-1", "moon-1", "local"]
VARIANTS = list(itertools.product([False, True], repeat=2))


def by_rules(region: str, fips: bool, dualstack: bool) -> str:
    return RULES.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dualstack).url


@pytest.mark.parametrize("region", REGIONS + FURTHER)
def test_every_region_has_the_url_that_botocores_rules_give(region: str) -> None:
    for fips, dualstack in VARIANTS:
        assert resolve_endpoint(region, use_fips=fips, use_dualstack=dualstack) == by_rules(
            region, fips, dualstack
        )


def by_client(region: str, fips: bool, dualstack: bool) -> str | None:
    """The URL of the request that botocore's client would send, None where it makes no client."""
    config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dualstack)
    session = botocore.session.Session()
    session.register_component("data_loader", LOADER)
    session.set_credentials("id", "secret")
    try:
        client = session.create_client("sagemaker-runtime", region, config=config)
    except EndpointVariantError:
        return None
    sent: list[str] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request.url)
        return AWSResponse(request.url, 200, {}, io.BytesIO())

    client.meta.events.register("before-send", answer)
    client.invoke_endpoint(EndpointName="e", Body=b"")
    return sent[0].removesuffix("/endpoints/e/invocations")


@pytest.mark.parametrize("partition", PARTITIONS_DATA["partitions"], ids=lambda p: p["id"])
def test_botocores_client_sends_to_the_same_url(partition: dict) -> None:
    region = next(r for r in partition["regions"] if not r.endswith("-global"))
    for fips, dualstack in VARIANTS:
        url = by_client(region, fips, dualstack)
        if url is None:
            # Two partitions have no dual-stack suffix in the older endpoints.json, which the
            # client asks before the rules: it refuses what the rules, and we, name.
            assert dualstack
            assert partition["id"] in {"aws-iso-e", "aws-iso-f"}
        else:
            assert resolve_endpoint(region, use_fips=fips, use_dualstack=dualstack) == url


def test_the_table_is_botocores() -> None:
    ours = {
        p.name: (p.region_pattern, p.dns_suffix, p.dual_stack_dns_suffix, p.global_region)
        for p in PARTITIONS
    }
    theirs = {
        p["id"]: (
            p["regionRegex"].removeprefix("^").removesuffix("$").replace(r"\-", "-"),
            p["outputs"]["dnsSuffix"],
            p["outputs"]["dualStackDnsSuffix"],
            next((r for r in p["regions"] if r.endswith("-global")), None),
        )
        for p in PARTITIONS_DATA["partitions"]
    }
    assert ours == theirs
    for partition in PARTITIONS_DATA["partitions"]:
        assert partition["outputs"]["supportsFIPS"] is True
        assert partition["outputs"]["supportsDualStack"] is True


@given(st.from_regex(r"\A[a-z]{2,5}(-[a-z]{1,5}){0,3}(-[0-9]{1,2})?\Z"))
def test_any_regions_partition_is_the_one_botocore_finds(region: str) -> None:
    expected = RuleSetStandardLibrary(PARTITIONS_DATA).aws_partition(region)
    assert partition_for(region).name == expected["name"]


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-west-1", "aws-cn-global"])
def test_a_known_region(region: str) -> None:
    assert is_known_region(region)


@pytest.mark.parametrize("region", ["", "local", "us-east-1.evil.example", "us-east-1\n", "eu-1"])
def test_an_unknown_region(region: str) -> None:
    assert not is_known_region(region)
    assert partition_for(region).name == "aws"


@pytest.mark.parametrize(
    "region",
    [
        "",
        "-us-east-1",
        "us-east-1-",
        "us_east_1",
        "us-east-1.evil.example",
        "us-east-1/x",
        "user@us-east-1",
        "us-east-1\n",
        "us-east-1#",
        "12",
        "ü-west-1",
        "a" * 64,
    ],
)
def test_a_region_that_is_no_host_label_is_refused(region: str) -> None:
    with pytest.raises(ConfigurationError, match="not a region's name"):
        resolve_endpoint(region)
