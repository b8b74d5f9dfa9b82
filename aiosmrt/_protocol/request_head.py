"""The heads of requests as they are written: request line, headers, signature.

The requests of one `RequestHead` differ in a few values only. So what stands between these
is put together once, for the head as it is written and for the canonical request that is
signed. The form of the signature is that of all heads with the same path and header names:
many programs give each call an id of its own.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import attrs

from aiosmrt._aws.canonical import folded
from aiosmrt._aws.sigv4 import claimed_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiosmrt._aws.credentials import Credentials
    from aiosmrt._aws.signer import SigV4Signer
    from aiosmrt._protocol.serialize import RequestHead

__all__ = ["HeadWriter"]

# As many as `serialize` keeps, with a session token and without.
_KEPT = 512
_INVOCATION_ID = "amz-sdk-invocation-id"
_REQUEST = "amz-sdk-request"
# Stands in a canonical request for what each request has of its own: no header holds one.
_GAP = "\0"


@attrs.frozen(eq=False)
class _Form:
    """What the requests of one `RequestHead` have in common.

    Attributes:
        start: The head up to the headers that change.
        signed_headers: What `claimed_headers` returned.
        canonical: The canonical request before, between and after invocation id, attempt,
            date (with the token, if there is one) and the body's hash.
    """

    start: str = attrs.field(repr=False)
    signed_headers: str
    canonical: tuple[str, str, str, str] = attrs.field(repr=False)


class HeadWriter:
    """Writes the heads of a session's requests.

    Args:
        signer: Signs them.
        host: The ``Host`` header's value.
        path_prefix: What stands before every request's path.
        target_prefix: What stands before that in the request line.
        unsigned: Headers that every request has, and that are not signed.

    Attributes:
        signer: The signer.
    """

    def __init__(
        self,
        signer: SigV4Signer,
        *,
        host: str,
        path_prefix: str = "",
        target_prefix: str = "",
        unsigned: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.signer = signer
        # The writer's own, so that a proxy's password goes when it does.
        self._form = lru_cache(_KEPT)(
            partial(
                _make_form,
                signer=signer,
                host=host,
                path_prefix=path_prefix,
                target_prefix=target_prefix,
                unsigned=tuple(unsigned),
            )
        )

    def write(
        self,
        head: RequestHead,
        *,
        invocation_id: str,
        request: str,
        body_hash: str,
        body_length: int,
        credentials: Credentials,
        more: str = "",
    ) -> bytes:
        """Writes a head, signed now.

        Args:
            head: The operation's part of it.
            invocation_id: ``amz-sdk-invocation-id``, the same for every attempt of a call.
            request: ``amz-sdk-request``, which attempt it is.
            body_hash: The SHA-256 of the body in hex.
            body_length: Its length.
            credentials: What to sign with.
            more: Further lines, unsigned, each with its line end.

        Returns:
            The request line and all headers, with the empty line.
        """
        form = self._form(head, credentials.session_token is not None)
        moment = self.signer.moment(credentials)
        opening, between, middle, closing = form.canonical
        signature = moment.signature(
            f"{opening}{invocation_id}{between}{request}{middle}{moment.signed}{closing}{body_hash}"
        )
        return (
            f"{form.start}{_INVOCATION_ID}: {invocation_id}\r\n{_REQUEST}: {request}\r\n"
            f"{moment.lines}Authorization: {moment.credential}{form.signed_headers}{signature}\r\n"
            f"{more}Content-Length: {body_length}\r\n\r\n"
        ).encode()


def _make_form(
    head: RequestHead,
    with_token: bool,  # noqa: FBT001 - a key of the cache
    *,
    signer: SigV4Signer,
    host: str,
    path_prefix: str,
    target_prefix: str,
    unsigned: tuple[tuple[str, str], ...],
) -> _Form:
    path = path_prefix + head.path
    signed = [("Host", host), *head.headers]
    names = (*[name for name, _ in signed], _INVOCATION_ID, _REQUEST)
    form = signer.form("POST", path, names, with_token=with_token)
    gaps = [_GAP] * (4 if with_token else 3)
    canonical = form.fill([*[folded(value) for _, value in signed], *gaps], payload_hash="")
    # The date and the token follow each other, and `SigningMoment.signed` has both.
    opening, between, middle, *_, closing = canonical.split(_GAP)
    start = [f"{name}: {value}\r\n" for name, value in (*signed[:1], *unsigned, *signed[1:])]
    return _Form(
        f"POST {target_prefix}{path} HTTP/1.1\r\n{''.join(start)}",
        claimed_headers(form.signed_headers),
        (opening, between, middle, closing),
    )
