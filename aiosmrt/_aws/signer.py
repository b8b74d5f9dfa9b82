"""The signer: aws-requests-auth's class, made to sign all that the service is sent.

The one module that imports ``aws_requests_auth``. That imports ``requests``, which takes
longer than all of our own modules, so a session imports this module when it first signs.

The parent signs host, date and token only, derives its key anew for every request and
reads its own clock. Here the parts that several signatures share are kept: the day's key,
the second's `SigningMoment`, and the `RequestForm`, a canonical request with gaps.
"""

from __future__ import annotations

import logging
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
    octets,
)
from aiosmrt._aws.credentials import Credentials
from aiosmrt._aws.sigv4 import (
    KeyedMac,
    authorization,
    claimed_credential,
    credential_scope,
    keyed_mac,
    opening,
    signature,
)
from aiosmrt.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["PreparedRequest", "RequestForm", "SigV4Signer", "SigningMoment"]

_logger = logging.getLogger("aiosmrt")

# One signer serves one session: its present credentials, those just before a refresh,
# and both of them on the two sides of midnight.
_KEPT_KEYS = 8
# Targets times the combinations of header names that a program uses.
_KEPT_FORMS = 1024
# Services refuse dates that are 5 minutes off (S3: 15); a smaller gap is not the cause.
_SKEW_SECONDS = 240.0

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


@attrs.frozen(eq=False)
class SigningMoment:
    """A second, in which signatures with the same credentials differ only by the request.

    Attributes:
        second: The second, since the epoch.
        credentials: The credentials.
        scope: The scope of the signatures.
        own: The headers that the signer adds to every request, except ``Authorization``: the
            date, and the session token if there is one.
        lines: These headers as they are written.
        signed: These headers as they are signed, from the date's value to that of the last.
        credential: What `claimed_credential` returned.
        mac: The key, which has taken the beginning of the string to sign.
    """

    second: int
    credentials: Credentials
    scope: str
    own: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    lines: str = attrs.field(repr=False)
    signed: str = attrs.field(repr=False)
    credential: str
    mac: KeyedMac = attrs.field(repr=False)

    def signature(self, canonical: str) -> str:
        """The signature of a canonical request, in hex."""
        return signature(self.mac, sha256(octets(canonical)).hexdigest())


@attrs.frozen(eq=False)
class RequestForm:
    """The part of a signature that many requests share: all except values and payload hash.

    Attributes:
        canonical: The canonical request, ``%s`` in place of each value and of the
            payload's hash.
        positions: Where among all the headers, the signer's own last, those values are.
        signed_headers: As in HeaderPlan.
    """

    canonical: str
    positions: tuple[int, ...]
    signed_headers: str

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
        )

    def fill(self, values: Sequence[str], payload_hash: str) -> str:
        """Returns the canonical request with these values in it.

        Args:
            values: The values of all the headers, `folded`, the signer's own last.
            payload_hash: The payload's hash.
        """
        return self.canonical % (*[values[at] for at in self.positions], payload_hash)


_kept_form = lru_cache(_KEPT_FORMS)(RequestForm.of)


def _is_signed(name: str) -> bool:
    return name in _SIGNED_NAMES or name.startswith(_SIGNED_PREFIXES)


def _derive(secret_access_key: str, date: str, region: str, service: str) -> bytes:
    key: bytes = getSignatureKey(secret_access_key, date, region, service)
    return key


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
        self._key = lru_cache(_KEPT_KEYS)(_derive)
        self._moment: SigningMoment | None = None

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
        with_token = bool(credentials.session_token)
        moment = self.moment(credentials)
        own = moment.own
        if self.service == "s3":
            own = (*own, ("X-Amz-Content-SHA256", payload_hash))
            # Not kept: each key has a form of its own, and would drive out those of others.
            form = RequestForm.of(method, target, names, "s3", with_token=with_token)
        else:
            form = self.form(method, target, names, with_token=with_token)
        values = [folded(value) for _, value in (*headers, *own)]
        signed = moment.signature(form.fill(values, payload_hash))
        value = authorization(credentials.access_key_id, moment.scope, form.signed_headers, signed)
        return (*own, ("Authorization", value))

    def beside(self, region: str, service: str) -> SigV4Signer:
        """Makes a signer for another region or service, which goes by this one's clock.

        Args:
            region: The region to sign for.
            service: The signing name.
        """
        return SigV4Signer(None, None, self.aws_host, region, service, clock=self._now)

    def learn_clock(self, theirs: float, *, signed_with: float) -> bool:
        """Takes a service's clock for ours if the two differ enough to be a refusal's cause.

        Args:
            theirs: The time of the refusal by the service's clock, since the epoch.
            signed_with: The ``offset_seconds`` that the refused request was signed with:
                another call may have learnt the clock meanwhile.

        Returns:
            Whether the request is to be signed again.
        """
        offset = theirs - self._clock()
        if abs(offset - signed_with) < _SKEW_SECONDS:
            return False
        if abs(offset - self.offset_seconds) >= _SKEW_SECONDS:
            _logger.warning("this machine's clock is %.0f s off the service's; corrected", -offset)
            self.offset_seconds = offset
        return True

    def _now(self) -> float:
        return self._clock() + self.offset_seconds

    def form(
        self, method: str, target: str, names: tuple[str, ...], *, with_token: bool
    ) -> RequestForm:
        """The form of requests; kept, and the same for every signer.

        Args:
            method: As for `sign`.
            target: As for `sign`.
            names: The names of the headers that `sign` takes.
            with_token: Whether the credentials will have a session token.
        """
        return _kept_form(method, target, names, self.service, with_token=with_token)

    def moment(self, credentials: Credentials) -> SigningMoment:
        """The present second, for signatures with these credentials.

        Args:
            credentials: What to sign with.
        """
        second = int(self._clock() + self.offset_seconds)
        moment = self._moment
        if moment is None or moment.second != second or moment.credentials is not credentials:
            moment = self._moment = self._make_moment(second, credentials)
        return moment

    def _make_moment(self, second: int, credentials: Credentials) -> SigningMoment:
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        date = timestamp[:8]
        region, service, token = self.aws_region, self.service, credentials.session_token
        scope = credential_scope(date, region, service)
        key = self._key(credentials.secret_access_key, date, region, service)
        own = [("X-Amz-Date", timestamp)]
        if token:
            own.append(("X-Amz-Security-Token", token))
        return SigningMoment(
            second=second,
            credentials=credentials,
            scope=scope,
            own=tuple(own),
            lines="".join([f"{name}: {value}\r\n" for name, value in own]),
            signed=f"{timestamp}\nx-amz-security-token:{token}" if token else timestamp,
            credential=claimed_credential(credentials.access_key_id, scope),
            mac=keyed_mac(key, opening(timestamp, scope)),
        )

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
        found: Credentials | str
        try:
            found = Credentials(aws_access_key, aws_secret_access_key, aws_token)
        except CredentialsError as error:
            found = error.message
        # A log of the traceback's locals would show them.
        del aws_access_key, aws_secret_access_key, aws_token
        if isinstance(found, str):
            raise CredentialsError(found)
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
                found,
            )
        )
