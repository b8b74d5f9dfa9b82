"""The canonical form of a request: what AWS Signature Version 4 signs.

The rules are those of "Create a signed AWS API request" of the IAM User Guide and of
AWS's own test suite (awslabs/aws-c-auth). Signing and verification share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "HeaderPlan",
    "canonical_path",
    "canonical_query",
    "canonical_request",
    "folded",
    "octets",
]

_UNRESERVED = "-_.~"


def octets(text: str) -> bytes:
    """The bytes of text off the wire, or for it: UTF-8, and what was not UTF-8 as it came.

    aiohttp decodes the head of a request with ``surrogateescape``; this is its inverse.
    """
    return text.encode("utf-8", "surrogateescape")


def canonical_path(raw_path: str, *, encode_twice: bool = True, normalize: bool = True) -> str:
    """The path as it is signed.

    Args:
        raw_path: The path on the wire, percent-encoded, without the query.
        encode_twice: Encode what is on the wire once more, as every service but S3
            does; S3 takes each octet encoded once.
        normalize: Remove ``.`` and ``..`` segments and doubled slashes, as every
            service but S3 does: there they are part of the object's key.

    Returns:
        The canonical URI, ``/`` for an empty path.
    """
    if normalize:
        raw_path = _without_dot_segments(raw_path)
    path = octets(raw_path)
    if not encode_twice:
        path = unquote_to_bytes(path)
    return quote(path, safe="/" + _UNRESERVED) or "/"


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def canonical_query(raw_query: str) -> str:
    """The query string as it is signed.

    Args:
        raw_query: The query on the wire, without the ``?``. A ``+`` in it is a plus
            sign, not a space.

    Returns:
        Its parameters, each encoded once, in the order of their encoded names, then values.
    """
    pairs: list[tuple[str, str]] = []
    for parameter in raw_query.split("&") if raw_query else ():
        name, _, value = parameter.partition("=")
        pairs.append((_encoded(name), _encoded(value)))
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(octets(text)), safe=_UNRESERVED)


@attrs.frozen(eq=False)
class HeaderPlan:
    """Which headers are signed, and in which order, for one list of header names.

    It holds no values, so that one plan serves every request with those names: the
    sorting is what takes the time.

    Attributes:
        signed_headers: The signed names in lower case, sorted and joined with ``;``.
        template: The canonical headers, ``%s`` in place of each value.
        positions: Where among all the headers those values are.
    """

    signed_headers: str
    template: str
    positions: tuple[int, ...]

    @classmethod
    def of(cls, names: Sequence[str], signs: Callable[[str], bool]) -> HeaderPlan:
        """Plans the signing of headers with these names.

        Args:
            names: The headers' names as sent, in any case and order, repeated where a
                header is.
            signs: Whether a header is signed, told its name in lower case.
        """
        positions: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            if signs(lowered := name.lower()):
                positions.setdefault(lowered, []).append(position)
        ordered = sorted(positions.items())
        return cls(
            signed_headers=";".join([name for name, _ in ordered]),
            template="".join(
                # % is a legal character of a header's name.
                [
                    f"{name.replace('%', '%%')}:{','.join(['%s'] * len(at))}\n"
                    for name, at in ordered
                ]
            ),
            positions=tuple([position for _, at in ordered for position in at]),
        )

    def canonical_headers(self, values: Sequence[str]) -> str:
        """The headers as they are signed, a line each.

        Args:
            values: The values of all the names that the plan was made of, in their order.
        """
        return self.template % tuple([folded(values[at]) for at in self.positions])


def folded(value: str) -> str:
    """A header's value as it is signed: no blanks around it, and one for several."""
    return " ".join(value.split())


def canonical_request(  # noqa: PLR0917 - in the order of the form
    method: str, path: str, query: str, headers: str, signed_headers: str, payload_hash: str
) -> str:
    """The first stage: the request in its canonical form.

    Args:
        method: The HTTP method, in capitals.
        path: What `canonical_path` returned.
        query: What `canonical_query` returned.
        headers: What `HeaderPlan.canonical_headers` returned.
        signed_headers: The plan's.
        payload_hash: The body's SHA-256 in hex, or what stands in its place (S3).
    """
    return f"{method}\n{path}\n{query}\n{headers}\n{signed_headers}\n{payload_hash}"
