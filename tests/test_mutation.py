"""What `nox -s mutation` reads fits the tree; the run itself takes too long for a test."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there

TESTS = Path(__file__).parent
PACKAGE = Path(find_spec("aiosmrt").origin).parent
SETTINGS = tomllib.loads((TESTS / "mutation" / "mutation.toml").read_text(encoding="utf-8"))
AREAS = {name: content for name, content in SETTINGS.items() if isinstance(content, dict)}
MODULES = {path: tests for area in AREAS.values() for path, tests in area["modules"].items()}
EQUIVALENTS = tomllib.loads((TESTS / "mutation" / "equivalents.toml").read_text(encoding="utf-8"))
# Folders of which each module is measured, so that a new one cannot be forgotten, without those
# that only give names to others or draw for the eye.
WHOLE = ["_transport", "_client/many", "batch"]
LEFT_OUT = {
    "__init__.py",
    "_aiohttp.py",
    "items.py",
    "_arrow.py",
    "_display.py",
    "_report.py",
    "ray.py",
}


@pytest.mark.parametrize("path", MODULES)
def test_what_is_measured_is_there(path: str) -> None:
    assert (PACKAGE / path).is_file()
    for tests in MODULES[path]:
        assert (TESTS / tests).exists(), tests


@pytest.mark.parametrize("folder", WHOLE)
def test_no_module_is_forgotten(folder: str) -> None:
    names = {path.name for path in (PACKAGE / folder).glob("*.py")} - LEFT_OUT
    assert names
    assert {f"{folder}/{name}" for name in names} <= MODULES.keys()


def test_every_equivalent_mutant_has_its_reason() -> None:
    entries = EQUIVALENTS.get("equivalent", [])
    assert all(len(entry["reason"].split()) > 3 for entry in entries)
    places = [
        tuple(entry[key] for key in ("module", "function", "mutation", "line")) for entry in entries
    ]
    assert len(places) == len(set(places))
    assert {entry["module"] for entry in entries} <= MODULES.keys()
