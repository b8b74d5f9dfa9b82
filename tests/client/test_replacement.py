"""A file in the place of another: whole, with its permissions, by whatever name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiosmrt._client.replacement import Replacement


@pytest.fixture(autouse=True)
def _umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("suffix", [None, ".part"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o400, None])
def test_no_moment_has_wider_permissions(tmp_path, monkeypatch, suffix, mode):
    path = tmp_path / "file"
    if mode is not None:
        path.touch()
        path.chmod(mode)
    created = []
    chmod = Path.chmod

    def observe(part, *args, **options):
        created.append(part.stat().st_mode & 0o777)
        chmod(part, *args, **options)

    monkeypatch.setattr(Path, "chmod", observe)
    with Replacement(path, suffix) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == (0o644 if mode is None else mode)
        file.write(b"new")
    assert path.stat().st_mode & 0o777 == (0o644 if mode is None else mode)
    assert path.read_bytes() == b"new"
    assert created == ([] if mode is None else [0o600])


def test_what_a_crash_has_left_is_removed(tmp_path):
    (tmp_path / "file.part").write_text("left over")
    with Replacement(tmp_path / "file", ".part") as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_link_beside_it_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("precious")
    (tmp_path / "file.part").symlink_to("other")
    with Replacement(tmp_path / "file", ".part") as file:
        file.write(b"new")
    assert (tmp_path / "other").read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize("suffix", [None, ".part"])
def test_where_the_permissions_cannot_be_kept_nothing_is_left(tmp_path, monkeypatch, suffix):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_args, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", fail)
    with pytest.raises(PermissionError), Replacement(path, suffix):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
