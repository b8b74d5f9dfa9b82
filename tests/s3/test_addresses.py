"""The hosts of S3 are botocore's, in every region, and a region that S3 names stays in bounds."""

from __future__ import annotations

import itertools
import re

import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import Loader

from aiosmrt._aws.config import resolve_config
from aiosmrt._s3.addresses import bucket_address, home_region, may_be_region

LOADER = Loader()
PARTITIONS = LOADER.load_data("partitions")
RULES = EndpointProvider(
    LOADER.load_service_model("s3", "endpoint-rule-set-1", "2006-03-01"), PARTITIONS
)
# "aws-cn-global" and its like stand for a partition, and have no S3.
REGIONS = sorted(
    region
    for partition in PARTITIONS["partitions"]
    for region in partition["regions"]
    if re.search(r"\d\Z", region)
)
BUCKETS = ["a-bucket", "abc", "b" * 63, "a.bucket.with.dots", "Capitals", "under_score", "b" * 64]


def botocores(bucket: str, region: str, *, use_fips: bool, use_dualstack: bool) -> str | None:
    """The bucket's URL by S3's own rules, None where they have none."""
    try:
        return RULES.resolve_endpoint(
            Bucket=bucket,
            Region=region,
            UseFIPS=use_fips,
            UseDualStack=use_dualstack,
            Accelerate=False,
            ForcePathStyle=False,
            UseGlobalEndpoint=False,
            DisableMultiRegionAccessPoints=True,
        ).url
    except EndpointProviderError:  # no FIPS hosts in China
        return None


@pytest.mark.parametrize("region", REGIONS)
def test_the_host_is_botocores(region):
    compared = 0
    for bucket, use_fips, use_dualstack in itertools.product(BUCKETS, (False, True), (False, True)):
        theirs = botocores(bucket, region, use_fips=use_fips, use_dualstack=use_dualstack)
        config = resolve_config(region=region, use_fips=use_fips, use_dualstack=use_dualstack)
        ours = bucket_address(bucket, region, config)
        if theirs is not None:
            assert ours.url + ours.path == theirs
            compared += 1
    assert compared >= 2 * len(BUCKETS)


def test_the_regions_are_all_partitions():
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"} <= set(REGIONS)
    assert len(REGIONS) > 35


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://s3.internal/prefix"])
@pytest.mark.parametrize("bucket", ["a-bucket", "a.bucket"])
def test_a_url_of_ones_own_takes_buckets_in_its_path(url, bucket):
    address = bucket_address(
        bucket, "eu-west-1", resolve_config(region="us-east-1", s3_endpoint_url=url)
    )
    assert (address.url, address.path) == (url, f"/{bucket}")


def test_the_whole_partition_is_asked_where_botocore_asks():
    assert home_region(resolve_config(region="aws-global")) == "us-east-1"


def test_every_region_of_the_own_partition_may_be_a_buckets():
    config = resolve_config(region="eu-west-1")
    own = {region for p in PARTITIONS["partitions"][:1] for region in p["regions"]} & set(REGIONS)
    assert {region for region in REGIONS if may_be_region(region, config)} == own


@pytest.mark.parametrize(
    "name",
    [
        "",
        "evil.example",
        "eu-west-1.evil.example/",
        "eu-west-1/..",
        "eu-west-1@evil",
        "eu-west-1#",
        "eu-west-1\r\nHost: evil",
        "EU-WEST-1",
        "eu-west-1 ",
        "eu_west_1",
        "dualstack",
        "127",
        "a" * 300,
    ],
)
def test_a_host_is_made_of_no_other_text(name):
    assert not may_be_region(name, resolve_config(region="eu-west-1"))


@pytest.mark.parametrize(
    "name, may_be", [("garage", True), ("a_b", True), ("a\r\nb: c", False), ("a/b", False)]
)
def test_an_s3_of_ones_own_names_its_regions_as_it_likes(name, may_be):
    config = resolve_config(region="us-east-1", s3_endpoint_url="http://127.0.0.1:9000")
    assert may_be_region(name, config) is may_be
