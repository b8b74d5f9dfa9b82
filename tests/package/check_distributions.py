"""Judges two directories of built distributions: `nox -s package` makes and hands them over.

Whoever builds a release twice, on two machines, must get the same bytes; what is in them is
what the repository holds, and what the metadata promises is what pyproject.toml says.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
HARD = {"aiohttp", "attrs", "aws-requests-auth"}


def fail(what: str) -> None:
    sys.exit(f"FAILED: {what}")


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        if isinstance(found, set) and isinstance(wanted, set):
            fail(f"{what}: too much {sorted(found - wanted)}, missing {sorted(wanted - found)}")
        fail(f"{what}: {found!r}, wanted {wanted!r}")
    print(f"ok: {what}")


def digests(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
        if path.suffix in (".whl", ".gz")
    }


def tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(listed.stdout.split("\n")) - {""}


def check_wheel(path: Path) -> None:
    info = f"{'-'.join(path.name.split('-')[:2])}.dist-info"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        metadata = Metadata.from_email(wheel.read(f"{info}/METADATA"), validate=True)
    beside = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    package = {name for name in tracked() if name.startswith("aiosmrt/")}
    same("the wheel holds the package", names, package | {f"{info}/{name}" for name in beside})
    same("the wheel says that it is typed", "aiosmrt/py.typed" in names, wanted=True)
    needs = [Requirement(str(need)) for need in metadata.requires_dist or ()]
    hard = {need.name for need in needs if "extra ==" not in str(need.marker)}
    same("the wheel needs three packages", hard, HARD)
    same("README.md is the description", metadata.description_content_type, "text/markdown")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    same("the description is whole", (metadata.description or "").strip(), readme.strip())


def check_sdist(path: Path) -> None:
    top = path.name.removesuffix(".tar.gz")
    with tarfile.open(path) as sdist:
        names = {member.name.removeprefix(f"{top}/") for member in sdist if member.isfile()}
    same("the sdist holds the repository", names, tracked() | {"PKG-INFO"})


def main(one: Path, other: Path) -> None:
    found = digests(one)
    same("two builds give the same bytes", digests(other), found)
    same("one wheel and one sdist", sorted(Path(name).suffix for name in found), [".gz", ".whl"])
    check_wheel(next(one.glob("*.whl")))
    check_sdist(next(one.glob("*.tar.gz")))


main(*map(Path, sys.argv[1:]))
