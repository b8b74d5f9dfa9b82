"""The house rules that a machine can check, read off the installed package's syntax trees."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(find_spec("aiosmrt").origin).parent
TESTS = Path(__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in ROOT.rglob("*.py")}

# From the ground up; a module imports from its own floor and from those below it.
FLOORS = [
    {"_shared_wait", "_threads", "_values", "errors"},
    {"eventstream", "framing"},
    {"_aws", "_transport"},
    {"_protocol"},
    {"_s3", "instrumentation"},
    {"_client"},
    {"batch", "local"},
    {"_cli"},
    {"__init__", "__main__"},
]

# What only one place may import, so that only one place changes with it.
SOLE_IMPORTERS = {
    "aws_requests_auth": "_aws/signer.py",
    "opentelemetry": "instrumentation/opentelemetry.py",
}

# The parsers and shapes, which are handed bytes and hand out values.
PURE = {"_values", "errors", "eventstream", "framing", "_protocol"}
# What they have no business with.
IO_MODULES = {"asyncio", "http", "select", "selectors", "socket", "ssl", "subprocess", "urllib3"}


class Import(NamedTuple):
    name: str  # in full, as far down as the statement tells: aiosmrt.errors.ModelError
    line: int
    typing_only: bool


def imports_of(file: str) -> list[Import]:
    package = ["aiosmrt", *Path(file).parent.parts]
    found: list[Import] = []

    def visit(node: ast.AST, *, typing_only: bool) -> None:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*parent, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            names = []
        found.extend(Import(name, node.lineno, typing_only) for name in names)
        guarded = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, typing_only=typing_only or (guarded and child in node.body))

    visit(ast.parse(FILES[file].read_bytes()), typing_only=False)
    return found


IMPORTS = {file: imports_of(file) for file in FILES}


def floor_of(unit: str) -> int:
    return next(number for number, units in enumerate(FLOORS) if unit in units)


def unit_of_file(file: str) -> str:
    return file.removesuffix(".py").split("/")[0]


def unit_of_import(name: str) -> str | None:
    """The unit of ours that an imported name belongs to: ``_aws`` of ``aiosmrt._aws.sigv4``."""
    root, *rest = name.split(".")
    if root != "aiosmrt" or rest == ["__version__"]:  # a fact for all, set before any import
        return None
    return rest[0] if rest and any(rest[0] in units for units in FLOORS) else "__init__"


def lines_of_code(source: str) -> set[int]:
    """The numbers of the lines that hold code: neither blank, nor comment, nor docstring."""
    trivia = {
        tokenize.COMMENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
        tokenize.INDENT,
        tokenize.NEWLINE,
        tokenize.NL,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in trivia:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return lines


@pytest.mark.parametrize("file", sorted(FILES))
def test_every_module_has_its_floor(file):
    assert any(unit_of_file(file) in units for units in FLOORS)


def test_the_drawing_of_the_floors_shows_every_unit():
    contributing = Path(__file__).parent.parent / ".github" / "CONTRIBUTING.md"
    drawing = contributing.read_text(encoding="utf-8").split("```")[3]
    drawn = set(re.findall(r"\w+", drawing)) | {"__init__", "__main__"}
    assert not {unit_of_file(file) for file in FILES} - drawn


@pytest.mark.parametrize("file", sorted(FILES))
def test_imports_run_downwards(file):
    floor = floor_of(unit_of_file(file))
    upwards = [
        f"{file}:{found.line} imports {found.name}"
        for found in IMPORTS[file]
        if (unit := unit_of_import(found.name)) and floor_of(unit) > floor
    ]
    assert not upwards


def module_of(name: str) -> str | None:
    """The file of ours that holds an imported name; None for a name of others."""
    parts = name.split(".")[1:] if name.split(".", maxsplit=1)[0] == "aiosmrt" else []
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in FILES:
                return file
    return None


def test_no_module_imports_itself_in_a_circle():
    """Imports for the type checkers count too: a circle of them is one of understanding."""
    graph = {
        file: {module_of(found.name) for found in imports} - {None, file}
        for file, imports in IMPORTS.items()
        if file != "__init__.py"  # the lazy list of public names, which every module passes by
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("file", sorted(FILES))
def test_bytes_and_shapes_do_no_io(file):
    if unit_of_file(file) not in PURE:
        return
    used = {found.name.split(".")[0] for found in IMPORTS[file] if not found.typing_only}
    foreign = used - {"aiosmrt", "attrs"}
    assert foreign <= sys.stdlib_module_names
    assert not foreign & IO_MODULES


@pytest.mark.parametrize("file", sorted(FILES))
def test_aiohttps_client_is_seen_by_the_transport_alone(file):
    used = {
        found.name
        for found in IMPORTS[file]
        if found.name.split(".")[0] == "aiohttp" and not found.typing_only
    }
    if unit_of_file(file) == "local":  # a server, written with aiohttp's
        used = {name for name in used if not name.startswith("aiohttp.web")}
    assert not used or unit_of_file(file) == "_transport"


@pytest.mark.parametrize("file", sorted(FILES))
def test_the_sole_importers(file):
    used = {found.name.split(".")[0] for found in IMPORTS[file]}
    assert not [name for name in used if SOLE_IMPORTERS.get(name, file) != file]


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_module_does_one_thing(file):
    """Lines are lines of code: documentation is never too long for a rule's sake."""
    source = FILES[file].read_text(encoding="utf-8")
    lines = lines_of_code(source)
    assert len(lines) <= 400
    functions = {
        f"{file}:{node.lineno} {node.name}": len(
            lines.intersection(range(node.lineno, node.end_lineno + 1))
        )
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert not {name: length for name, length in functions.items() if length > 60}


def test_no_test_imports_another():
    """What tests share is in tests/support, which imports none of them either."""
    names = {path.stem for path in TESTS.rglob("test_*.py")}
    for file in TESTS.rglob("*.py"):
        imported = {
            part
            for node in ast.walk(ast.parse(file.read_bytes()))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in (getattr(node, "module", None), *(alias.name for alias in node.names))
            for part in (name or "").split(".")
        }
        assert not imported & names, file


def test_tests_see_what_a_user_sees():
    """The repr of a session or a transport tells what it has in use (tests/support)."""
    looked = [
        f"{file.name}:{node.lineno} {ast.unparse(node)}"
        for file in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Attribute)
        and re.match("_[^_]", node.attr)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"items", "session", "stream", "transport"}
    ]
    assert not looked


def test_no_drawer_for_odds_and_ends():
    assert not {Path(file).stem for file in FILES} & {"base", "common", "helpers", "misc", "utils"}


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "py.typed").is_file()
