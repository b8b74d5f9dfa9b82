"""An MLflow scoring server behind the local endpoint: it speaks SageMaker's contract. Slow."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import botocore.exceptions
import pytest
from support.local_clients import with_boto

from aiosmrt.local import LocalEndpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# In a process of its own: MLflow warns of much, and warnings are errors here.
TRAIN = """
import sys, mlflow.sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
x, y = load_iris(return_X_y=True)
mlflow.sklearn.save_model(LogisticRegression(max_iter=500).fit(x, y), sys.argv[1])
"""


def answers_ping(url):
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=1) as response:  # noqa: S310 - http
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """The URL of a scoring server of a model of iris flowers."""
    model = tmp_path_factory.mktemp("mlflow") / "model"
    # It runs the uvicorn that the PATH finds.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(
        [sys.executable, "-c", TRAIN, model], check=True, capture_output=True, env=environment
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    serve = ["-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    server = subprocess.Popen(
        [sys.executable, *serve, "-h", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    yield f"http://127.0.0.1:{port}"
    os.killpg(server.pid, signal.SIGTERM)  # uvicorn is a child of its own
    server.wait(20)


async def test_an_mlflow_model_answers_boto3(iris):
    def use(client):
        def invoke(body, content_type):
            answer = client.invoke_endpoint(
                EndpointName="iris", Body=body, ContentType=content_type
            )
            return json.loads(answer["Body"].read())

        rows = {"inputs": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}
        assert invoke(json.dumps(rows), "application/json") == {"predictions": [0, 2]}
        assert invoke("a,b,c,d\n5.1,3.5,1.4,0.2\n", "text/csv") == {"predictions": [0]}
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            invoke("{", "application/json")
        return caught.value.response

    async with LocalEndpoint() as local:
        local.add_container("iris", iris)
        deadline = asyncio.get_running_loop().time() + 300
        while not await asyncio.to_thread(answers_ping, iris):
            assert asyncio.get_running_loop().time() < deadline, "MLflow did not start"
            await asyncio.sleep(0.2)
        refused = await with_boto(local, use)
    assert refused["Error"]["Code"] == "ModelError"
    assert refused["OriginalStatusCode"] == 400
    assert "Invalid input" in refused["OriginalMessage"]
