"""The output file by itself: what it holds after every way of writing and failing."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt import AiosmrtError, ConfigurationError
from aiosmrt.batch._output import IndexSet, OutputError, OutputFile, RunFile


def line(index, error=None):
    return json.dumps({"index": index, "error": error}).encode() + b"\n"


def opened(path, count=10):
    output = OutputFile(path)
    output.claim()
    output.open(count, threading.Event())
    return output


@given(numbers=st.lists(st.integers(0, 99)))
def test_an_index_set_is_a_set(numbers):
    indices = IndexSet(100)
    for number in numbers:
        indices.add(number)
    assert [number for number in range(100) if number in indices] == sorted(set(numbers))
    assert len(indices) == len(set(numbers))


def test_lines_are_appended_and_found_again(tmp_path):
    path = tmp_path / "out.jsonl"
    output = opened(path)
    output.append(line(3) + line(1, {"type": "ModelError"}))
    output.sync()
    output.close()
    output.close()  # again, which is nothing
    again = opened(path)
    assert [index for index in range(10) if index in again.done] == [1, 3]
    assert again.failed == 1
    again.append(line(0))
    again.close()
    assert path.read_bytes() == line(3) + line(1, {"type": "ModelError"}) + line(0)


@given(cut=st.integers(0, 200))
def test_cut_anywhere_the_whole_lines_stay(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("output") / "out.jsonl"
    data = line(0) + line(1) + line(2)
    path.write_bytes(data[:cut])
    output = opened(path)
    output.append(line(9))
    output.close()
    # A line that lacks only its end counts as whole.
    whole = sum(end <= cut + 1 for end in (len(line(0)), 2 * len(line(0)), 3 * len(line(0))))
    assert path.read_bytes() == b"".join(line(number) for number in (*range(whole), 9))
    assert len(output.done) == whole


def test_lines_of_any_depth_are_found_again(tmp_path):
    path = tmp_path / "out.jsonl"
    template = '{"key": %s, "index": %d, "output": %s, "error": %s}\n'
    levels = [*range(960, 1005, 5), *range(1440, 1510, 10), *range(9930, 10_005, 10), 50_000]
    for number, level in enumerate(levels):
        deep = "[" * level + '"]"' + "]" * level
        text = template % (number, 0, deep, "null") + template % (deep, 1, deep, '{"type": "x"}')
        path.write_text(text)
        output = opened(path)
        output.close()
        assert (len(output.done), output.failed) == (2, 1)
        path.write_text(text[:-9])  # torn
        output = opened(path)
        output.close()
        assert (len(output.done), output.failed) == (1, 0)


@pytest.mark.parametrize(
    "spoilt",
    [
        b"no line\n" + line(1),
        line(1) + line(1),
        line(10),
        line(-1),
        b'{"index": true, "error": null}\n' + line(1),
        b'{"index": 1}\n' + line(2),
    ],
)
def test_what_a_run_did_not_write_is_left_alone(tmp_path, spoilt):
    path = tmp_path / "out.jsonl"
    path.write_bytes(spoilt)
    output = OutputFile(path)
    output.claim()
    with pytest.raises(ConfigurationError, match=r"cannot be resumed: line \d"):
        output.open(10, threading.Event())
    output.close()
    assert path.read_bytes() == spoilt


def test_a_full_disk_leaves_whole_lines(tmp_path):
    path = tmp_path / "out.jsonl"
    output = opened(path)
    output.append(line(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(line(0)) * 2 + 5, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written") as caught:
            output.append(line(1) + line(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == line(0) + line(1)
    # There is room again, and who has not heard of it writes on.
    output.append(line(2))
    output.close()
    assert path.read_bytes() == line(0) + line(1) + line(2)
    assert caught.value.errno == errno.EFBIG
    assert "make room" in str(caught.value)
    assert caught.value.path == path
    assert isinstance(caught.value, (AiosmrtError, OSError))
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - ours
    assert (str(again), again.errno) == (str(caught.value), errno.EFBIG)


@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_writes_that_take_a_part_are_continued(tmp_path, monkeypatch, step):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:step]))
    output = opened(tmp_path / "out.jsonl")
    output.append(line(0) + line(1))
    output.append(line(2))
    output.close()
    assert output.path.read_bytes() == line(0) + line(1) + line(2)


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(OutputError, match="out"):
        OutputFile(tmp_path / "missing" / "out.jsonl").claim()
    with pytest.raises(OutputError, match=r"out.*No such file.*mend that"):
        RunFile(tmp_path / "missing" / "out.jsonl")


def test_a_disk_that_fails_is_told_of(tmp_path):
    output = opened(tmp_path / "out.jsonl")
    os.close(output._descriptor)
    with pytest.raises(OutputError):
        output.append(line(0))
    with pytest.raises(OutputError):
        output.sync()


@pytest.mark.parametrize("code", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(getattr(errno, code), "as it is")

    monkeypatch.setattr("fcntl.flock", flock)
    before = sorted(Path("/dev/fd").iterdir())
    for open_one in (RunFile, lambda path: OutputFile(path).claim()):
        with pytest.raises(OutputError, match=r"does not let it be locked \(as it is\)") as caught:
            open_one(tmp_path / "out.jsonl")
        assert caught.value.errno == getattr(errno, code)
    assert sorted(Path("/dev/fd").iterdir()) == before


def test_facts_are_kept_and_compared(tmp_path):
    run = RunFile(tmp_path / "out.jsonl")
    assert run.read() is None
    run.write({"a": 1, "b": [1, 2]})
    run.check({"a": 1, "b": (1, 2)})
    run.write({"a": 2})
    with pytest.raises(ConfigurationError, match="another a and another b"):
        run.check({"a": 1, "b": None, "c": None} | {"b": 1})
    run.close()
    again = RunFile(tmp_path / "out.jsonl")
    again.check({"a": 2})
    again.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0}', "{}", "[" * 100_000])
def test_facts_that_are_not_whole_are_none(tmp_path, text):
    (tmp_path / "out.jsonl.run").write_text(text)
    run = RunFile(tmp_path / "out.jsonl")
    assert run.read() is None
    with pytest.raises(ConfigurationError, match="missing or broken"):
        run.check({})
    run.close()


def test_a_lock_is_held_until_it_is_given_back(tmp_path):
    run = RunFile(tmp_path / "out.jsonl")
    with pytest.raises(ConfigurationError, match="another run"):
        RunFile(tmp_path / "out.jsonl")
    run.close()
    RunFile(tmp_path / "out.jsonl").close()
