"""A local endpoint in a thread of its own, for blocking clients."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from support.local_clients import boto_client
from support.local_stream import STREAM

from aiosmrt import ConfigurationError
from aiosmrt.local import LocalEndpoint
from aiosmrt.local._server import LocalServer


async def model(request):
    return threading.current_thread().name


def test_a_blocking_client_in_the_main_thread():
    with LocalEndpoint() as local:
        local.add_model("e", model)
        local.put_object("s3://b/k", b"x")
        with boto_client(local, "sagemaker-runtime") as client:
            answer = client.invoke_endpoint(EndpointName="e", Body=b"")["Body"].read()
        with boto_client(local, "s3") as client:
            assert client.get_object(Bucket="b", Key="k")["Body"].read() == b"x"
    assert answer == b"aiosmrt-local"
    assert "aiosmrt-local" not in {thread.name for thread in threading.enumerate()}


def test_what_has_arrived_is_looked_through_while_more_arrives():
    with LocalEndpoint() as local, boto_client(local, "sagemaker-runtime") as client:
        local.add_model("e", model)
        for _ in range(3):
            client.invoke_endpoint(EndpointName="e", Body=b"")["Body"].read()
        seen = iter(local.received)
        next(seen)
        client.invoke_endpoint(EndpointName="e", Body=b"")["Body"].read()
        assert len(list(seen)) == 2
    assert len(local.received) == 4


def test_it_ends_with_the_block_whatever_happens_there():
    local = LocalEndpoint()
    with pytest.raises(ZeroDivisionError), local:
        1 / 0  # noqa: B018 - it raises
    assert "aiosmrt-local" not in {thread.name for thread in threading.enumerate()}


def test_what_keeps_it_from_starting_is_raised():
    with LocalEndpoint() as local, pytest.raises(OSError, match="address already in use"):
        with LocalEndpoint(port=local.port):
            pass
    with pytest.raises(ConfigurationError, match="started once"), local:
        pass


def test_what_goes_wrong_at_the_end_is_raised(monkeypatch):
    local = LocalEndpoint()

    with pytest.raises(RuntimeError, match="a defect"), local:
        close = LocalServer.aclose

        async def closing(server):
            await close(server)
            raise RuntimeError("a defect")

        monkeypatch.setattr(LocalServer, "aclose", closing)


def test_a_client_that_does_not_read_does_not_outlive_it():
    made = 0

    async def endless(request):
        nonlocal made
        while True:
            made += 1
            yield bytes(65_536)

    with LocalEndpoint(verify=False) as local:
        local.add_model("llm", endless)
        client = socket.create_connection((local.host, local.port))
        head = (
            f"POST {STREAM.format('llm')} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )
        client.sendall(head.encode())
        before = 0
        while before != made or not made:  # until nothing moves
            before = made
            time.sleep(0.1)
    client.settimeout(10)
    with client:
        while client.recv(1_048_576):  # what the kernel held for it, and then the end
            pass
