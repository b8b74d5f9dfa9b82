"""examples/batch_digits.py, as a reader runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "batch_digits.py"


def number(pattern: str, text: str) -> int:
    """The one number that stands in the pattern's place."""
    (found,) = re.findall(pattern, text)
    return int(found)


@pytest.mark.slow
def test_every_image_has_its_answer_once() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], check=True, capture_output=True, encoding="utf-8"
    )
    assert done.stderr == ""
    there = number(r"Broken off: (\d+) lines", done.stdout)
    assert 0 < there < 1797
    assert number(r"(\d+) of 1797 records", done.stdout) == 1797 - there
    assert number(r"; (\d+) were done before", done.stdout) == there
    assert "1797 lines, at most 1 for an image" in done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("  {")]
    assert len(lines) == 3
    assert all(0 <= line["output"]["digit"] <= 9 for line in lines)
    # Of 898; the classifier has no chance in it.
    assert number(r"Right on (\d+) of the 898", done.stdout) > 800
