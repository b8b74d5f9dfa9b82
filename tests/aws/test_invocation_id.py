"""Invocation ids: their form, and that none comes twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid

import pytest

from aiosmrt._aws.invocation_id import new_invocation_id


def test_ids_are_uuids_of_version_4_and_each_comes_once() -> None:
    ids = [new_invocation_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    for text in ids[:: len(ids) // 10]:
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


FORKING = """
import os
from aiosmrt._aws.invocation_id import new_invocation_id

child = os.fork()
print(new_invocation_id(), flush=True)
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_ids_of_its_own() -> None:
    command = [sys.executable, "-c", FORKING]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    one, other = done.stdout.split()
    assert one[:20] != other[:20]
