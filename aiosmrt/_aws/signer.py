"""The signer: aws-requests-auth's class, made to sign all that the service is sent.

The one module that imports ``aws_requests_auth``. That imports ``requests``, 0.1 s of
start-up, so this module is imported when a session is made, and not by `import aiosmrt`.

The parent signs host, date and token only, derives its key anew for every request and
reads its own clock. Here one method signs, `SigV4Signer.sign_form`, and what does not
change from one request to the next is kept: the key, the second's timestamp, and the
`RequestForm`, a canonical request with gaps for what does.
"""

from __future__ import annotations

import time
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import attrs
from aws_requests_auth.aws_auth import (
    AWSRequestsAuth,
    getSignatureKey,  # pyright: ignore[reportUnknownVariableType] - it has no types
)

from aiosmrt._aws.canonical import (
    HeaderPlan,
    canonical_path,
    canonical_query,
    canonical_request,
    folded,
)
from aiosmrt._aws.credentials import Credentials
from aiosmrt._aws.sigv4 import (
    authorization,
    credential_scope,
    keyed_mac,
    signature,
    string_to_sign,
)

if TYPE_CHECKING:
    import hmac
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["PreparedRequest", "RequestForm", "SigV4Signer"]

# One signer serves one session: its present credentials, those just before a refresh,
# and both of them on the two sides of midnight.
_KEPT_KEYS = 8
# The present second, of every signer: few, and so is what it costs to make one anew.
_KEPT_MOMENTS = 16
# Targets times the combinations of header names that a program uses.
_KEPT_FORMS = 1024

# x-amzn-trace-id and User-Agent are changed on the way by proxies and tracers, which
# would break a signature that covered them.
_SIGNED_NAMES = frozenset({"host", "content-type"})
_SIGNED_PREFIXES = ("x-amz-", "x-amzn-sagemaker-", "amz-sdk-")


class PreparedRequest(Protocol):
    """What of a ``requests.PreparedRequest`` is signed."""

    method: str
    url: str
    headers: Mapping[str, str | bytes]
    body: str | bytes | None


@attrs.frozen
class _Moment:
    """A second, as signatures write it."""

    timestamp: str
    date: str
    scope: str


@lru_cache(_KEPT_MOMENTS)
def _moment(second: int, region: str, service: str) -> _Moment:
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
    date = timestamp[:8]
    return _Moment(timestamp, date, credential_scope(date, region, service))


@attrs.frozen(eq=False)
class RequestForm:
    """What of the signing of many requests is the same: all but values and the body's hash.

    Attributes:
        canonical: The canonical request, ``%s`` in place of each value and of the
            payload's hash.
        positions: Where among all the headers, the signer's own last, those values are.
        signed_headers: As in HeaderPlan.
        own_names: The headers that the signer adds, but for ``Authorization``.
    """

    canonical: str
    positions: tuple[int, ...]
    signed_headers: str
    own_names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        names: Sequence[str],
        service: str,
        *,
        with_token: bool,
    ) -> RequestForm:
        """Makes the form of requests; `SigV4Signer.form` keeps those it made.

        Those of the headers that the signer sets itself are left unsigned: they are what
        is left of an earlier signature.

        Args:
            method: The HTTP method, in capitals.
            target: The path, and the query if any, percent-encoded as they are written.
            names: The names of the headers as they will be written, ``Host`` among them.
            service: The signing name.
            with_token: Whether the credentials have a session token.
        """
        is_s3 = service == "s3"
        own = ["X-Amz-Date"]
        if with_token:
            own.append("X-Amz-Security-Token")
        if is_s3:
            own.append("X-Amz-Content-SHA256")
        lowered = {name.lower() for name in own}
        # No name is empty, so the place in the list stays and nothing is signed for it.
        kept = ["" if name.lower() in lowered else name for name in names]
        plan = HeaderPlan.of([*kept, *own], _is_signed)
        path, _, query = target.partition("?")
        fixed = [
            canonical_path(path, encode_twice=not is_s3, normalize=not is_s3),
            canonical_query(query),
            plan.signed_headers,
        ]
        path, query, signed_headers = (text.replace("%", "%%") for text in fixed)
        return cls(
            canonical=canonical_request(method, path, query, plan.template, signed_headers, "%s"),
            positions=plan.positions,
            signed_headers=plan.signed_headers,
            own_names=tuple(own),
        )


_kept_form = lru_cache(_KEPT_FORMS)(RequestForm.of)


def _is_signed(name: str) -> bool:
    return name in _SIGNED_NAMES or name.startswith(_SIGNED_PREFIXES)


def _derive(secret_access_key: str, date: str, region: str, service: str) -> hmac.HMAC:
    return keyed_mac(getSignatureKey(secret_access_key, date, region, service))


class SigV4Signer(AWSRequestsAuth):  # type: ignore[misc]  # its package has no types
    """Signs requests with AWS Signature Version 4.

    `sign` is for one's own transport. As an ``auth=`` of ``requests`` the signer works
    as its parent does, and signs the same way.

    Signed are host, content-type, every ``x-amz-*``, ``x-amzn-sagemaker-*`` and
    ``amz-sdk-*`` header, and what the signer adds itself.

    Attributes:
        offset_seconds: What is added to the clock; set it to the service's time less
            one's own when the service finds the clock wrong.
    """

    # The parent's, which has no types.
    aws_host: str
    aws_region: str
    service: str

    def __init__(  # noqa: PLR0917 - the parent's arguments
        self,
        aws_access_key: str | None,
        aws_secret_access_key: str | None,
        aws_host: str,
        aws_region: str,
        aws_service: str,
        aws_token: str | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the parent's arguments, and a clock.

        Args:
            aws_access_key: The access key's id; None when `sign` alone is used, which is
                told its credentials.
            aws_secret_access_key: Its secret, or None as above.
            aws_host: The host of requests that have no ``Host`` header yet, with a port
                that is not the scheme's own.
            aws_region: The region to sign for.
            aws_service: The signing name: ``sagemaker`` for SageMaker Runtime. With
                ``s3`` paths are signed S3's way, and the body's hash is sent.
            aws_token: The session token of temporary credentials.
            clock: Gives the seconds since the epoch.
        """
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - it has no types
            aws_access_key, aws_secret_access_key, aws_host, aws_region, aws_service, aws_token
        )
        self.offset_seconds = 0.0
        self._clock = clock
        # The signer's own, so that the keys go when it does.
        self._keyed = lru_cache(_KEPT_KEYS)(_derive)

    def __repr__(self) -> str:
        return f"SigV4Signer(region={self.aws_region!r}, service={self.service!r})"

    def sign(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        payload_hash: str,
        credentials: Credentials,
    ) -> tuple[tuple[str, str], ...]:
        """Signs a request that is about to be written.

        The time is read here, and a signature is good for 5 minutes from it: sign again
        for every attempt, and not before there is a connection.

        Args:
            method: The HTTP method, in capitals.
            target: The path, and the query if any, percent-encoded as they are written.
            headers: The headers as they will be written, ``Host`` among them.
            payload_hash: The SHA-256 of the body in hex; S3 also takes
                ``UNSIGNED-PAYLOAD``.
            credentials: What to sign with.

        Returns:
            The headers to send besides, in place of any of their name among ``headers``:
            ``X-Amz-Date``, ``X-Amz-Security-Token`` with a token,
            ``X-Amz-Content-SHA256`` for S3, ``Authorization``.
        """
        names = tuple([name for name, _ in headers])
        form = self.form(method, target, names, with_token=bool(credentials.session_token))
        values = [folded(value) for _, value in headers]
        return self.sign_form(form, values, payload_hash, credentials)

    def form(
        self, method: str, target: str, names: tuple[str, ...], *, with_token: bool
    ) -> RequestForm:
        """The form of requests, for `sign_form`; kept, and the same for every signer.

        Args:
            method: As for `sign`.
            target: As for `sign`.
            names: The names of the headers that `sign` takes.
            with_token: Whether the credentials will have a session token.
        """
        return _kept_form(method, target, names, self.service, with_token=with_token)

    def sign_form(
        self,
        form: RequestForm,
        values: Sequence[str],
        payload_hash: str,
        credentials: Credentials,
    ) -> tuple[tuple[str, str], ...]:
        """As `sign`, of which it is the greater part, for a request whose form is known.

        Args:
            form: The request's form, for credentials with a token or without as these are.
            values: The headers' values, `folded`.
            payload_hash: As for `sign`.
            credentials: What to sign with.

        Returns:
            As `sign`.
        """
        region, service = self.aws_region, self.service
        moment = _moment(int(self._clock() + self.offset_seconds), region, service)
        own = [moment.timestamp]
        if credentials.session_token:
            own.append(credentials.session_token)
        if service == "s3":
            own.append(payload_hash)
        given = [*values, *own]
        canonical = form.canonical % (*[given[at] for at in form.positions], payload_hash)
        mac = self._keyed(credentials.secret_access_key, moment.date, region, service)
        signed = signature(mac, string_to_sign(moment.timestamp, moment.scope, canonical))
        value = authorization(credentials.access_key_id, moment.scope, form.signed_headers, signed)
        return (*zip(form.own_names, own, strict=True), ("Authorization", value))

    def get_aws_request_headers(
        self,
        r: PreparedRequest,
        aws_access_key: str,
        aws_secret_access_key: str,
        aws_token: str | None,
    ) -> dict[str, str]:
        """Signs a prepared request of ``requests``; its ``auth=`` calls this.

        Args:
            r: The request; only read.
            aws_access_key: The access key's id.
            aws_secret_access_key: Its secret.
            aws_token: The session token of temporary credentials, else None.

        Raises:
            CredentialsError: The signer was made without credentials, or they cannot be sent.
        """
        # requests keeps bytes as they are and writes text as Latin-1.
        headers = [
            (name, value.decode("latin-1") if isinstance(value, bytes) else value)
            for name, value in r.headers.items()
        ]
        if "host" not in {name.lower() for name, _ in headers}:
            headers.append(("Host", self.aws_host))
        url = urlsplit(r.url)
        body = r.body or b""
        return dict(
            self.sign(
                r.method,
                f"{url.path}?{url.query}",
                headers,
                sha256(body.encode() if isinstance(body, str) else body).hexdigest(),
                Credentials(aws_access_key, aws_secret_access_key, aws_token),
            )
        )
