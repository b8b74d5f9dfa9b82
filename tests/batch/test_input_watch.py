"""The input by itself: which changes are noticed, and how seldom it is read for that."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from aiosmrt import ConfigurationError
from aiosmrt.batch._input_watch import InputWatch

STEP = 2_000_000_000  # nanoseconds: the longest that a file system's times may stand still


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def watch(path: Path, **given: int) -> InputWatch:
    return InputWatch(path, digest(path.read_bytes()), **given)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"1\n2\n")
    return path


def modified_later(path: Path) -> int:
    """The last of its two times, which is that of its content."""
    later = path.stat().st_ctime_ns + 10 * STEP
    os.utime(path, ns=(later, later))
    return later


def changed_later(path: Path) -> int:
    """The last of its two times, which is that of its permissions."""
    os.utime(path, ns=(0, 0))
    return path.stat().st_ctime_ns


@pytest.mark.parametrize("touch", [modified_later, changed_later])
@pytest.mark.parametrize("age, is_read", [(0, True), (STEP - 1, True), (STEP, False)])
def test_only_where_the_times_were_young_a_last_look_reads_it(source, touch, age, is_read):
    began = watch(source, began=touch(source) + age)
    began.digest = "of another content"  # as after a change that the times do not show
    began.check()
    if is_read:
        with pytest.raises(ConfigurationError, match="its content changed"):
            began.check(is_last=True)
    else:
        began.check(is_last=True)


def test_a_file_that_was_touched_is_read_once(source):
    began = watch(source)
    os.utime(source, ns=(0, 0))
    began.check()
    began.digest = "of another content"
    began.check()


def rewrite(path: Path) -> None:
    path.write_bytes(b"1\n3\n")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"3\n")


def cut(path: Path) -> None:
    os.truncate(path, 2)


@pytest.mark.parametrize(
    "change, told",
    [
        (rewrite, r"\(its content changed\)"),
        (append, r"\(its length from 4 to 6 bytes changed\)"),
        (cut, r"\(its length from 4 to 2 bytes changed\)"),
        (Path.unlink, r"\(it is not there any more\)"),
    ],
)
def test_a_change_is_told(source, change, told):
    began = watch(source)
    change(source)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"in.jsonl {told}.* put the old content back"):
            began.check()
