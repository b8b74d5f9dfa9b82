"""The AWS SDK for JavaScript v3 passes the table too. Slow: npm fetches the SDK first."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.local_cases import CASES, add_models, assert_passed
from support.local_container import add_containers, running

from aiosmrt.local import LocalEndpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).parents[1] / "javascript" / "run_cases.mjs"
SDK = "@aws-sdk/client-sagemaker-runtime@3"


@pytest.fixture(scope="module")
def script(request):
    """The script beside a node_modules that is kept between runs."""
    folder = request.config.cache.mkdir("javascript")
    if not (folder / "node_modules" / "@aws-sdk").exists():
        install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", SDK]
        subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=240)
    return Path(shutil.copy(SCRIPT, folder))


async def run_javascript(script, local):
    settings = {
        "endpoint": local.url,
        "region": local.region,
        "credentials": {
            "accessKeyId": local.credentials.access_key_id,
            "secretAccessKey": local.credentials.secret_access_key,
        },
    }
    node = await asyncio.create_subprocess_exec(
        "node",
        script,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    cases = [{"operation": case["operation"], "input": case["input"]} for case in CASES]
    given = json.dumps({"settings": settings, "cases": cases}).encode()
    answered, complaints = await node.communicate(given)
    assert node.returncode == 0, complaints.decode()
    return json.loads(answered)


async def test_the_javascript_sdk_passes_the_table(script):
    async with LocalEndpoint() as local:
        add_models(local)
        assert_passed(await run_javascript(script, local))


async def test_the_javascript_sdk_passes_the_table_before_containers(script):
    with running() as url:
        async with LocalEndpoint() as local:
            add_containers(local, url)
            assert_passed(await run_javascript(script, local))
