"""The output file by itself: what it holds after every way of writing and failing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pickle
import resource
import signal
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batch_runs import descriptors
from support.memory import traced

from aiosmrt import AiosmrtError, ConfigurationError
from aiosmrt.batch._output import (
    IndexSet,
    OutputError,
    OutputFile,
    RunFile,
    check_count_of_lines,
)


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


def test_an_index_set_takes_a_bit_for_each():
    with traced():
        indices = IndexSet(1_000_000)
        assert tracemalloc.get_traced_memory()[0] < 130_000
    indices.add(999_999)
    assert len(indices) == 1


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
    "spoilt, number",
    [
        (b"no line\n" + line(1), 1),
        (b"no line\n\n", 1),
        (line(1) + line(1), 2),
        (line(10), 1),
        (line(-1), 1),
        (b'{"index": true, "error": null}\n' + line(1), 1),
        (line(0) + b'{"index": 1}\n' + line(2), 2),
        (b"[1]\n" + line(1), 1),
        (b'{"index": %b, "error": null}\n' % (b"[" * 50_000 + b"]" * 50_000) + line(1), 1),
    ],
)
def test_what_a_run_did_not_write_is_left_alone(tmp_path, spoilt, number):
    path = tmp_path / "out.jsonl"
    path.write_bytes(spoilt)
    output = OutputFile(path)
    output.claim()
    with pytest.raises(ConfigurationError, match=rf"cannot be resumed: line {number} "):
        output.open(10, threading.Event())
    output.close()
    assert path.read_bytes() == spoilt


def test_its_reading_can_be_stopped(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(0))
    output, stopped = OutputFile(path), threading.Event()
    output.claim()
    stopped.set()
    with pytest.raises(OutputError) as caught:  # nobody waits for it any more
        output.open(10, stopped)
    assert isinstance(caught.value.__cause__, InterruptedError)
    output.close()
    assert (path.read_bytes(), len(output.done)) == (line(0), 0)


@contextlib.contextmanager
def a_limit_of(length):
    """Lets no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


FIRST = line(0, {"type": "ModelError"})


@pytest.mark.parametrize("found", [b"", FIRST, FIRST[:-1]], ids=["none", "whole", "no end"])
@pytest.mark.parametrize("torn", [0, 5])
def test_a_full_disk_leaves_whole_lines(tmp_path, found, torn):
    path = tmp_path / "out.jsonl"
    path.write_bytes(found)
    output = opened(path)
    if not found:
        output.append(FIRST)
    told = f"cannot be written: {os.strerror(errno.EFBIG)}"
    with a_limit_of(len(FIRST + line(1)) + torn):
        with pytest.raises(OutputError, match=told) as caught:
            output.append(line(1) + line(2))
        assert path.read_bytes() == FIRST + line(1)
        with pytest.raises(OutputError, match=told):
            output.append(line(2))
    assert path.read_bytes() == FIRST + line(1)
    # There is room again, and who has not heard of it writes on.
    output.append(line(2))
    output.close()
    assert path.read_bytes() == FIRST + line(1) + line(2)
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


def test_a_write_that_takes_nothing_is_not_repeated_for_ever(tmp_path, monkeypatch):
    output = opened(tmp_path / "out.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: 0)
        with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
            output.append(line(0))
    output.append(line(1))
    output.close()
    assert output.path.read_bytes() == line(1)


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"missing/out\.jsonl cannot be written: No such file"):
        OutputFile(tmp_path / "missing" / "out.jsonl").claim()
    with pytest.raises(OutputError, match=r"missing/out\.jsonl\.run cannot .*: No such file.*mend"):
        RunFile(tmp_path / "missing" / "out.jsonl")


def fail(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def fail_otherwise(*_):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_disk_that_fails_is_told_of(tmp_path, monkeypatch):
    before = descriptors()
    output, run = opened(tmp_path / "out.jsonl"), RunFile(tmp_path / "out.jsonl")
    monkeypatch.setattr(os, "write", fail)
    monkeypatch.setattr(os, "ftruncate", fail_otherwise)
    with pytest.raises(OutputError, match=r"out\.jsonl.*mend that") as caught:
        output.append(line(0))
    assert caught.value.errno == errno.EIO
    with pytest.raises(OutputError, match=r"out\.jsonl\.run.*mend that"):
        run.write({})
    run.close()
    with pytest.raises(OutputError, match=r"out\.jsonl.*mend that"):
        output.open(10, threading.Event())
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"out\.jsonl.*mend that"):
        output.sync()
    with pytest.raises(OutputError, match=r"out\.jsonl.*mend that"):
        output.close()
    assert descriptors() == before


@pytest.mark.parametrize("code", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(getattr(errno, code), "as it is")

    monkeypatch.setattr("fcntl.flock", flock)
    before = descriptors()
    for open_one in (RunFile, lambda path: OutputFile(path).claim()):
        with pytest.raises(OutputError, match=r"does not let it be locked \(as it is\)") as caught:
            open_one(tmp_path / "out.jsonl")
        assert caught.value.errno == getattr(errno, code)
    assert descriptors() == before


@pytest.fixture
def synced(monkeypatch):
    """The files, and directories, that were brought onto the disk."""
    files = []
    sync = os.fsync

    def observe(descriptor):
        sync(descriptor)
        files.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", observe)
    return files


def test_what_is_begun_is_on_the_disk_with_its_name(tmp_path, synced):
    path, descriptors_before = tmp_path / "out.jsonl", descriptors()
    run = RunFile(path)
    run.write({"a": 1})
    assert synced == [run.path.stat().st_ino, tmp_path.stat().st_ino]
    output = opened(path)
    assert synced[2:] == [path.stat().st_ino, tmp_path.stat().st_ino]
    output.append(line(0))
    output.close()
    assert synced[4:] == [path.stat().st_ino]
    run.close()
    assert descriptors() == descriptors_before


def test_lines_that_tell_an_error_are_taken_out_in_one_step(tmp_path, synced):
    before = descriptors()
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(0) + line(1, {"type": "ModelError"}) + line(2) + b'{"index": 3, "er')
    first = path.stat().st_ino
    output = OutputFile(path)
    output.claim()
    output.drop_failed()
    assert path.read_bytes() == line(0) + line(2) + b'{"index": 3, "er'
    assert synced == [path.stat().st_ino, tmp_path.stat().st_ino]
    assert path.stat().st_ino != first
    assert len(descriptors()) == len(before) + 1
    with pytest.raises(ConfigurationError, match="another run"):
        OutputFile(path).claim()
    output.open(10, threading.Event())
    output.append(line(1))
    output.close()
    assert path.read_bytes() == line(0) + line(2) + line(1)
    assert descriptors() == before


def test_lines_that_tell_an_error_stay_where_none_can_be_written(tmp_path):
    before = descriptors()
    path = tmp_path / "out.jsonl"
    text = line(0) * 100 + line(1, {"type": "ModelError"})
    path.write_bytes(text)
    output = OutputFile(path)
    output.claim()
    with a_limit_of(1_000), pytest.raises(OutputError, match=r"out\.jsonl cannot be written"):
        output.drop_failed()
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]
    part = tmp_path / "out.jsonl.part"
    part.mkdir()
    with pytest.raises(OutputError, match=r"out\.jsonl cannot be written"):
        output.drop_failed()
    part.rmdir()
    assert path.read_bytes() == text
    # And it is still locked.
    assert len(descriptors()) == len(before) + 1
    with pytest.raises(ConfigurationError, match="another run"):
        OutputFile(path).claim()
    output.close()
    assert descriptors() == before


def test_a_file_that_was_never_claimed_is_closed_already(tmp_path):
    before = descriptors()
    OutputFile(tmp_path / "out.csv.jsonl").close()
    assert descriptors() == before


def test_the_lines_of_a_finished_file_are_counted(tmp_path):
    path = tmp_path / "out.jsonl"
    with pytest.raises(OutputError, match="No such file"):
        check_count_of_lines(path, 0)
    path.write_bytes(line(0) + line(1))
    check_count_of_lines(path, 2)
    with pytest.raises(OutputError, match="it has 2 lines, not 3") as caught:
        check_count_of_lines(path, 3)
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("given, expected", [((), 0o666), ((0o640,), 0o640)])
def test_new_files_have_the_permissions_asked_for(tmp_path, given, expected):
    before = os.umask(0)
    try:
        RunFile(tmp_path / "out.jsonl", *given).close()
        output = OutputFile(tmp_path / "out.jsonl", *given)
        output.claim()
        output.close()
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {expected}


def test_facts_of_this_form_are_read(tmp_path):
    run = RunFile(tmp_path / "out.jsonl")
    run.write({"a": [1]})
    text = '{\n "format": 1,\n "a": [\n  1\n ]\n}\n'
    assert run.path.read_text() == text
    assert run.failed() == 0
    run.write({"a": [1], "failed": 3})
    assert run.failed() == 3
    run.close()
    (tmp_path / "other.jsonl.run").write_text(text)
    other = RunFile(tmp_path / "other.jsonl")
    other.check({"a": [1]})
    other.close()


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
    nothing = descriptors()
    run = RunFile(tmp_path / "out.jsonl")
    one = descriptors()
    with pytest.raises(ConfigurationError, match="another run is writing"):
        RunFile(tmp_path / "out.jsonl")
    assert descriptors() == one
    run.close()
    RunFile(tmp_path / "out.jsonl").close()
    assert descriptors() == nothing


def replace(path):
    (path.parent / "new").write_bytes(line(2))
    (path.parent / "new").replace(path)


@pytest.mark.parametrize("take_away, found", [(Path.unlink, b""), (replace, line(2))])
def test_a_file_that_another_run_took_away_meanwhile_is_opened_anew(
    tmp_path, monkeypatch, take_away, found
):
    before = descriptors()
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(0))
    flock = fcntl.flock

    def lose(descriptor, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        take_away(path)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lose)
    output = opened(path)
    output.append(line(1))
    output.close()
    assert path.read_bytes() == found + line(1)
    assert descriptors() == before
