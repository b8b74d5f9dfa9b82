"""botocore as the second opinion on a signature, at a time and over headers of one's choice."""

from __future__ import annotations

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials


def _over(base, signs):
    class Auth(base):
        def headers_to_sign(self, request):
            chosen = super().headers_to_sign(request)
            for name in set(chosen.keys()):
                if not signs(name):
                    del chosen[name]
            return chosen

    return Auth


def botocore_signed(
    *,
    method,
    url,
    headers,
    body,
    credentials,
    region,
    service,
    timestamp,
    signs=lambda name: True,
):
    """The request's headers as botocore signs them; by default it signs nearly all.

    It calls what ``SigV4Auth.add_auth`` calls, which reads the clock itself: botocore has no
    public way to sign at another time.
    """
    auth = _over(S3SigV4Auth if service == "s3" else SigV4Auth, signs)(
        BotocoreCredentials(
            credentials.access_key_id, credentials.secret_access_key, credentials.session_token
        ),
        service,
        region,
    )
    request = AWSRequest(method, url, data=body)
    for name, value in headers:
        request.headers[name] = value
    request.context["timestamp"] = timestamp
    auth._modify_request_before_signing(request)  # noqa: SLF001 - add_auth takes the time of now
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    auth._inject_signature_to_request(request, signature)  # noqa: SLF001 - as above
    return request.headers.items()
