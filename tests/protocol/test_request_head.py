"""Heads as they are written, against the service's own check of signatures."""

from __future__ import annotations

from datetime import datetime, timezone
from hashlib import sha256
from typing import Any, NoReturn

import pytest
from support.sessions import KEYS
from support.traceback_locals import locals_of

from aiosmrt._aws.credentials import Credentials
from aiosmrt._aws.signer import RequestForm, SigV4Signer
from aiosmrt._protocol.operations import INVOKE_ENDPOINT
from aiosmrt._protocol.request_head import HeadWriter
from aiosmrt._protocol.serialize import RequestHead
from aiosmrt.local._verification import ReceivedRequest, verify

HOST = "runtime.sagemaker.us-east-1.amazonaws.com"
TEMPORARY = Credentials("ASIAEXAMPLE", "secret", "token%s+/=")
BODY = b"\xff%s"
BODY_HASH = sha256(BODY).hexdigest()
MIDNIGHT = datetime(2026, 1, 2, tzinfo=timezone.utc).timestamp()


def head(**headers: str) -> RequestHead:
    fields = tuple((f"X-Amzn-SageMaker-{name}", value) for name, value in headers.items())
    return RequestHead(INVOKE_ENDPOINT, "e", "/endpoints/e/invocations", fields)


def write(
    writer: HeadWriter, request: RequestHead, keys: Credentials, *, more: str = ""
) -> tuple[str, list[tuple[str, str]]]:
    """The request line and the headers of what is written."""
    written = writer.write(
        request,
        invocation_id="an-id",
        request="attempt=1; max=3",
        body_hash=BODY_HASH,
        body_length=len(BODY),
        credentials=keys,
        more=more,
    )
    line, *lines = written.decode().split("\r\n")
    assert lines[-2:] == ["", ""]
    return line, [tuple(field.split(": ", 1)) for field in lines[:-2]]


def check(line: str, headers: list[tuple[str, str]], keys: Credentials, now: float) -> None:
    request = ReceivedRequest(
        method="POST",
        raw_path=line.split(" ")[1].removeprefix("http://" + HOST),
        raw_query="",
        headers=headers,
        payload_hash=BODY_HASH,
    )
    verify(
        request,
        lookup={keys.access_key_id: keys}.get,
        region="us-east-1",
        service="sagemaker",
        now=datetime.fromtimestamp(now, timezone.utc),
        must_sign=("x-amz-", "x-amzn-sagemaker-", "amz-sdk-", "content-type"),
    )


@pytest.mark.parametrize("prefix", ["", "/a%20b/%25s"])
@pytest.mark.parametrize("keys", [KEYS, TEMPORARY], ids=["keys", "token"])
def test_what_is_written_passes_the_services_check(prefix: str, keys: Credentials) -> None:
    now = MIDNIGHT - 1
    signer = SigV4Signer(None, None, HOST, "us-east-1", "sagemaker", clock=lambda: now)
    unsigned = [("User-Agent", "100%s"), ("Proxy-Authorization", "Basic x")]
    writer = HeadWriter(
        signer,
        host=HOST,
        path_prefix=prefix,
        target_prefix="http://" + HOST,
        unsigned=unsigned,
    )
    requests = [
        head(),
        head(Id="1"),
        head(Id="%s %d%%"),
        head(Id="two  blanks", Model="größe%20"),
        head(Model="größe", Id="2"),
    ]
    for request in [*requests, *requests]:
        line, headers = write(writer, request, keys, more="X-Trace: t\r\n")
        assert line == f"POST http://{HOST}{prefix}/endpoints/e/invocations HTTP/1.1"
        names = [name for name, _ in headers]
        assert len(names) == len({name.lower() for name in names})
        expected = {*request.headers, *unsigned, ("Host", HOST), ("X-Trace", "t")}
        assert expected | {("Content-Length", str(len(BODY)))} <= set(headers)
        check(line, headers, keys, now)
    now = MIDNIGHT  # of which the key is another
    for request in requests:
        check(*write(writer, request, keys), keys, now)


def test_the_credentials_of_each_attempt_are_its_own() -> None:
    signer = SigV4Signer(None, None, HOST, "us-east-1", "sagemaker", clock=lambda: MIDNIGHT)
    writer = HeadWriter(signer, host=HOST)
    for keys in (KEYS, TEMPORARY, KEYS):
        line, headers = write(writer, head(Id="1"), keys)
        assert dict(headers).get("X-Amz-Security-Token") == keys.session_token
        check(line, headers, keys, MIDNIGHT)


def test_heads_that_differ_in_values_share_a_form() -> None:
    """Many programs give each call an id of its own."""
    forms: list[RequestForm] = []

    class Noting(SigV4Signer):
        def form(self, *args: Any, **options: Any) -> RequestForm:
            forms.append(super().form(*args, **options))
            return forms[-1]

    writer = HeadWriter(Noting(None, None, HOST, "us-east-1", "sagemaker"), host=HOST)
    for text in ("1", "2"):
        write(writer, head(Id=text), KEYS)
    assert len(forms) == 2
    assert forms[0] is forms[1]


def test_no_value_is_in_the_repr_of_what_is_written() -> None:
    """A log of the traceback's locals would show it."""

    class Failing(SigV4Signer):
        def moment(self, _: Credentials) -> NoReturn:
            raise ValueError

    writer = HeadWriter(Failing(None, None, HOST, "us-east-1", "sagemaker"), host=HOST)
    with pytest.raises(ValueError, match=r"^$") as caught:
        write(writer, head(Attributes="a-secret"), TEMPORARY)
    shown = {name: text for _, name, text in locals_of(caught.value) if "." not in name}
    assert {"head", "form"} <= shown.keys()
    assert "a-secret" not in shown["head"] + shown["form"]
