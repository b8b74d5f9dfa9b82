"""Which host answers for a bucket: S3's hosts in AWS's partitions, as data.

The hosts are those of S3's endpoint rule set (botocore
``data/s3/2006-03-01/endpoint-rule-set-1.json``); a test compares them for every region.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from aiosmrt._aws.endpoints import partition_for

if TYPE_CHECKING:
    from aiosmrt._aws.config import Config

__all__ = ["BucketAddress", "bucket_address", "home_region", "may_be_region"]

# What can stand before ".s3." in a host that a certificate for *.s3. covers: no dots.
_HOST_LABEL_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# As AWS names them. An S3 of the user's own has other names, which stand in no host.
_AWS_REGION = re.compile(r"[a-z]{2,8}(-[a-z]{1,16}){1,3}-[0-9]{1,2}")
_ANY_REGION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


@attrs.frozen
class BucketAddress:
    """Where requests for one bucket go.

    Attributes:
        url: The URL of S3: scheme, host and perhaps a path.
        path: The path of the bucket there: empty where the host is the bucket's own.
    """

    url: str
    path: str


def bucket_address(bucket: str, region: str, config: Config) -> BucketAddress:
    """Names the address of a bucket: path style where a host of its own cannot be had.

    Args:
        bucket: The bucket's name.
        region: The bucket's region.
        config: The session's settings: S3's URL, FIPS and dual-stack hosts.
    """
    if config.s3_endpoint_url is not None:
        return BucketAddress(config.s3_endpoint_url, f"/{bucket}")
    host = "s3-fips" if config.use_fips else "s3"
    if config.use_dualstack:
        host += ".dualstack"
    host += f".{region}.{partition_for(region).dns_suffix}"
    if _HOST_LABEL_BUCKET.fullmatch(bucket):
        return BucketAddress(f"https://{bucket}.{host}", "")
    return BucketAddress(f"https://{host}", f"/{bucket}")


def home_region(config: Config) -> str:
    """The region in which a bucket is looked for first."""
    return "us-east-1" if config.region == "aws-global" else config.region


def may_be_region(name: str, config: Config) -> bool:
    """Tells whether requests may be sent to a region that S3 has named.

    Returns:
        True for a name of the kind that AWS gives, in the session's own partition; at a URL of
        the user's own for any plain name, since no host is made of it.
    """
    if config.s3_endpoint_url is not None:
        return _ANY_REGION.fullmatch(name) is not None
    if not _AWS_REGION.fullmatch(name):
        return False
    return partition_for(name) is partition_for(config.region)
