"""AWS's Signature Version 4 suite, where it is found, and the one example that always is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

SUITE = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "sigv4"


@dataclass(frozen=True)
class Case:
    name: str
    region: str
    service: str
    secret_access_key: str
    token: str | None
    token_is_signed: bool
    normalize: bool
    timestamp: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]  # what is signed, in the order of the request
    body: bytes
    canonical_request: str
    string_to_sign: str
    signature: str
    signed_request: str | None

    access_key_id = "AKIDEXAMPLE"

    @property
    def payload_hash(self):
        return sha256(self.body).hexdigest()

    @property
    def date(self):
        return self.timestamp[:8]


def parse_request(text):
    """Method, path, query, headers and body of a request in the suite's files.

    Its paths hold spaces, and its values go on over lines that begin with one.
    """
    head, _, body = text.partition("\n\n")
    first, *lines = head.splitlines()
    method, _, rest = first.partition(" ")
    path, _, query = rest.removesuffix(" HTTP/1.1").partition("?")
    headers = []
    for line in lines:
        if line.startswith(" "):
            name, value = headers.pop()
            headers.append((name, f"{value}\n{line}"))
        else:
            name, _, value = line.partition(":")
            headers.append((name, value))
    return method, path, query, headers, body.encode()


def _load(folder):
    def read(name):
        return (folder / name).read_text(encoding="utf-8")

    context = json.loads(read("context.json"))
    credentials = context["credentials"]
    token = credentials.get("token")
    token_is_signed = token is not None and not context.get("omit_session_token", False)
    timestamp = context["timestamp"].replace("-", "").replace(":", "")
    method, path, query, headers, body = parse_request(read("request.txt"))
    headers.append(("X-Amz-Date", timestamp))
    if token_is_signed:
        headers.append(("X-Amz-Security-Token", token))
    if context["sign_body"]:
        headers.append(("x-amz-content-sha256", sha256(body).hexdigest()))
    return Case(
        name=folder.name,
        region=context["region"],
        service=context["service"],
        secret_access_key=credentials["secret_access_key"],
        token=token,
        token_is_signed=token_is_signed,
        normalize=context["normalize"],
        timestamp=timestamp,
        method=method,
        path=path,
        query=query,
        headers=headers,
        body=body,
        canonical_request=read("header-canonical-request.txt"),
        string_to_sign=read("header-string-to-sign.txt"),
        signature=read("header-signature.txt"),
        signed_request=read("header-signed-request.txt"),
    )


# "Create a signed AWS API request" of the AWS General Reference, 2015 to 2022.
DOCUMENTED = Case(
    name="documented",
    region="us-east-1",
    service="iam",
    secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    token=None,
    token_is_signed=False,
    normalize=True,
    timestamp="20150830T123600Z",
    method="GET",
    path="/",
    query="Action=ListUsers&Version=2010-05-08",
    headers=[
        ("Host", "iam.amazonaws.com"),
        ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("X-Amz-Date", "20150830T123600Z"),
    ],
    body=b"",
    canonical_request=(
        "GET\n"
        "/\n"
        "Action=ListUsers&Version=2010-05-08\n"
        "content-type:application/x-www-form-urlencoded; charset=utf-8\n"
        "host:iam.amazonaws.com\n"
        "x-amz-date:20150830T123600Z\n"
        "\n"
        "content-type;host;x-amz-date\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    ),
    string_to_sign=(
        "AWS4-HMAC-SHA256\n"
        "20150830T123600Z\n"
        "20150830/us-east-1/iam/aws4_request\n"
        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    ),
    signature="5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    signed_request=None,
)

CASES = [DOCUMENTED, *map(_load, sorted(SUITE.iterdir()) if SUITE.is_dir() else ())]
