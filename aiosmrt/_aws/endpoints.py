"""Which host answers for a region: AWS's partitions, FIPS and dual-stack, as data.

The hosts are those of the service's own endpoint rule set (botocore
``data/sagemaker-runtime/2017-05-13/endpoint-rule-set-1.json``), the partitions those of
botocore's ``data/partitions.json``; a test compares both with the installed botocore.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

__all__ = [
    "PARTITIONS",
    "Partition",
    "check_endpoint_url",
    "is_known_region",
    "is_private_host",
    "partition_for",
    "resolve_endpoint",
]

# botocore's rule for a region (utils.validate_region_name), but for the empty one: a label of
# RFC 1123 that is not a number. It keeps a region from smuggling another host into the URL.
_HOST_LABEL = re.compile(r"(?![0-9]+\Z)(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")
# Wider than RFC 1123 by the underscore, which names of containers have.
_HOST_AND_PORT = re.compile(r"([a-zA-Z0-9._-]+|\[(?P<ipv6>[^\]]+)\])(:[0-9]*)?")
# Names that only a private network resolves: a container's, a cluster's, the machine's own.
_PRIVATE_NAME = re.compile(r"[^.]+|.*\.(localhost|local|internal|test|svc)", re.IGNORECASE)


@attrs.frozen(kw_only=True, eq=False)
class Partition:
    """A part of AWS with its own regions, credentials and domain names.

    Attributes:
        name: The partition's name, as in an ARN.
        region_pattern: A regular expression that the whole name of a region matches.
        global_region: The pseudo-region that stands for the whole partition, None if there is
            none.
        dns_suffix: The domain of its hosts.
        dual_stack_dns_suffix: The domain of its hosts that have IPv4 and IPv6 addresses.
        fips_host: What stands before the region in a FIPS host that is not dual-stack.
    """

    name: str
    region_pattern: str
    global_region: str | None = None
    dns_suffix: str
    dual_stack_dns_suffix: str
    fips_host: str = "runtime.sagemaker-fips"


PARTITIONS = (
    Partition(
        name="aws",
        region_pattern=r"(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+",
        global_region="aws-global",
        dns_suffix="amazonaws.com",
        dual_stack_dns_suffix="api.aws",
        fips_host="runtime-fips.sagemaker",
    ),
    Partition(
        name="aws-cn",
        region_pattern=r"cn-\w+-\d+",
        global_region="aws-cn-global",
        dns_suffix="amazonaws.com.cn",
        dual_stack_dns_suffix="api.amazonwebservices.com.cn",
    ),
    Partition(
        name="aws-eusc",
        region_pattern=r"eusc-(de)-\w+-\d+",
        dns_suffix="amazonaws.eu",
        dual_stack_dns_suffix="api.amazonwebservices.eu",
    ),
    Partition(
        name="aws-us-gov",
        region_pattern=r"us-gov-\w+-\d+",
        global_region="aws-us-gov-global",
        dns_suffix="amazonaws.com",
        dual_stack_dns_suffix="api.aws",
        # Every host of this partition is a FIPS one.
        fips_host="runtime.sagemaker",
    ),
    Partition(
        name="aws-iso",
        region_pattern=r"us-iso-\w+-\d+",
        global_region="aws-iso-global",
        dns_suffix="c2s.ic.gov",
        dual_stack_dns_suffix="api.aws.ic.gov",
    ),
    Partition(
        name="aws-iso-b",
        region_pattern=r"us-isob-\w+-\d+",
        global_region="aws-iso-b-global",
        dns_suffix="sc2s.sgov.gov",
        dual_stack_dns_suffix="api.aws.scloud",
    ),
    Partition(
        name="aws-iso-e",
        region_pattern=r"eu-isoe-\w+-\d+",
        global_region="aws-iso-e-global",
        dns_suffix="cloud.adc-e.uk",
        dual_stack_dns_suffix="api.cloud-aws.adc-e.uk",
    ),
    Partition(
        name="aws-iso-f",
        region_pattern=r"us-isof-\w+-\d+",
        global_region="aws-iso-f-global",
        dns_suffix="csp.hci.ic.gov",
        dual_stack_dns_suffix="api.aws.hci.ic.gov",
    ),
)


def _match(region: str) -> Partition | None:
    for partition in PARTITIONS:
        if region == partition.global_region or re.fullmatch(partition.region_pattern, region):
            return partition
    return None


def is_known_region(region: str) -> bool:
    """Tells whether a region has a name of the kind that AWS gives.

    Returns:
        True when a partition claims it; it need not exist.
    """
    return _match(region) is not None


def partition_for(region: str) -> Partition:
    """Finds the partition of a region.

    Returns:
        Its partition; ``aws`` for a region that no partition claims, as every SDK does, so that
        a region newer than this table works.
    """
    return _match(region) or PARTITIONS[0]


def resolve_endpoint(region: str, *, use_fips: bool = False, use_dualstack: bool = False) -> str:
    """Names the URL of SageMaker Runtime in a region.

    Args:
        region: The region's name, such as ``eu-west-1``; one host label.
        use_fips: Whether to use the host with FIPS 140 validated cryptography.
        use_dualstack: Whether to use the host that has IPv6 addresses too.

    Returns:
        The URL, ``https://`` and a host, with no path.

    Raises:
        ConfigurationError: The region is no host label.
    """
    if not _HOST_LABEL.fullmatch(region):
        raise ConfigurationError(
            f"The region {region!r} is not a region's name: 1 to 63 letters, digits and hyphens, "
            "such as eu-west-1"
        )
    partition = partition_for(region)
    if use_dualstack:
        host = "runtime.sagemaker-fips" if use_fips else "runtime.sagemaker"
        return f"https://{host}.{region}.{partition.dual_stack_dns_suffix}"
    host = partition.fips_host if use_fips else "runtime.sagemaker"
    return f"https://{host}.{region}.{partition.dns_suffix}"


def check_endpoint_url(url: str, called: str = "endpoint URL") -> str:
    """Checks an endpoint URL of the user's own.

    Returns:
        The URL, without a slash at its end.

    Raises:
        ConfigurationError: It is not ``http://`` or ``https://`` with a host, or has a user name,
            a password, a query or a fragment. The text shows none of these.
    """
    if problem := _url_problem(url):
        shown = re.sub(r"[?#].*", "", url, flags=re.DOTALL).rpartition("@")[2]
        raise ConfigurationError(f"The {called} {shown!r} {problem}")
    return url.rstrip("/")


def _url_problem(url: str) -> str | None:
    # urlsplit drops some of these without a word, and would so check another host.
    if not url.isascii() or not url.isprintable() or " " in url:
        return "has spaces or characters outside of ASCII"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "has no valid host and port"
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return "does not begin with http:// or https:// and a host"
    if "@" in parts.netloc:
        return "has a user name or a password: credentials are not part of a URL"
    if "?" in url or "#" in url:
        return "has a query or a fragment"
    host = _HOST_AND_PORT.fullmatch(parts.netloc)
    if port == 0 or host is None or (host["ipv6"] and _address(host["ipv6"]) is None):
        return "has no valid host and port"
    return None


def is_private_host(host: str) -> bool:
    """Tells whether a host is this machine or one of a network of its own.

    Returns:
        True for a loopback, private or link-local address, and for a name without a dot or in a
        domain that is never public, such as those of containers and clusters.
    """
    address = _address(host)
    if address is None:
        return _PRIVATE_NAME.fullmatch(host) is not None
    return address.is_private or address.is_loopback or address.is_link_local


def _address(host: str) -> IPv4Address | IPv6Address | None:
    import ipaddress  # 3 ms, and seldom needed

    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
