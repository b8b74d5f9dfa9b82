"""The heads of requests as they are written: request line, headers, signature.

What is the same for every request of one `RequestHead` is put together once: the lines of
its headers, and their values as they are signed. The form of its signature is that of all
heads with the same path and header names: many programs give each call an id of its own.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import attrs

from aiosmrt._aws.canonical import folded
from aiosmrt._aws.signer import RequestForm

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


@attrs.frozen(eq=False)
class _Form:
    """What the requests of one `RequestHead` have in common."""

    start: str = attrs.field(repr=False)
    values: tuple[str, ...] = attrs.field(repr=False)
    signing: RequestForm


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
        form = self._form(head, bool(credentials.session_token))
        values = (*form.values, invocation_id, request)
        signature = self.signer.sign_form(form.signing, values, body_hash, credentials)
        return (
            f"{form.start}{_INVOCATION_ID}: {invocation_id}\r\n{_REQUEST}: {request}\r\n"
            f"{_lines(signature)}{more}Content-Length: {body_length}\r\n\r\n"
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
    lines = _lines([*signed[:1], *unsigned, *signed[1:]])
    return _Form(
        f"POST {target_prefix}{path} HTTP/1.1\r\n{lines}",
        tuple([folded(value) for _, value in signed]),
        signer.form("POST", path, names, with_token=with_token),
    )


def _lines(headers: Iterable[tuple[str, str]]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers])
