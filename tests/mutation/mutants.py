"""Every mutant of a module, and the sample of them that a run tries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.plugins import get_operator
from operators import OPERATORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGE = Path("aiosmrt")


@attrs.frozen
class Mutant:
    """One place of a module, changed by one operator."""

    module: str  # below PACKAGE
    operator: str
    occurrence: int  # among the places of the module that the operator changes
    position: tuple[int, int]  # row and column
    function: str
    line: str

    def __str__(self) -> str:
        name = self.operator.partition("/")[2]
        return f"{PACKAGE / self.module}:{self.position[0]}: {name} in {self.function}: {self.line}"

    @property
    def path(self) -> Path:
        return PACKAGE / self.module

    @property
    def place(self) -> tuple[str, ...]:
        """What an equivalent mutant is listed by: it stays when lines above it come and go."""
        return self.module, self.function, self.operator.partition("/")[2], self.line


def mutants_of(module: str) -> Iterator[Mutant]:
    """In the order of the operators, then of the module's lines."""
    tree = get_ast_from_path(PACKAGE / module)
    lines = tree.get_code().splitlines()
    nodes = list(ast_nodes(tree))
    for operator in OPERATORS:
        change = get_operator(operator)()
        # One node can have several places.
        places = [(node, start) for node in nodes for start, _ in change.mutation_positions(node)]
        for occurrence, (node, start) in enumerate(places):
            if _runs(node):
                line = lines[start[0] - 1].strip()
                yield Mutant(module, operator, occurrence, start, _function(node), line)


def sample(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Which ones depends on the seed and on each alone, so a change elsewhere keeps the others."""
    twins: dict[tuple[str, ...], int] = {}
    ranks = {}
    for mutant in mutants:
        number = twins[mutant.place] = twins.get(mutant.place, 0) + 1
        ranks[mutant] = hashlib.sha256(repr((seed, mutant.place, number)).encode()).digest()
    return sorted(mutants, key=ranks.__getitem__)[:count]


def _runs(node: Any) -> bool:
    """Whether the place is code that runs, and is code still with the change.

    The star of keyword-only parameters is no product, and `not` cannot stand before a walrus.
    Before another `not` it would only undo that, which is a mutant of its own.
    """
    if node.type == "operator" and node.parent.type in ("parameters", "lambdef"):
        return False
    if node.type in ("while_stmt", "if_stmt") and node.children[1].type in _NO_NOT_BEFORE:
        return False
    while node is not None:
        if node.type == "if_stmt" and node.children[1].get_code().strip() == "TYPE_CHECKING":
            return False
        node = node.parent
    return True


_NO_NOT_BEFORE = ("namedexpr_test", "not_test")


def _function(node: Any) -> str:
    names = []
    while node is not None:
        if node.type in ("funcdef", "classdef"):
            names.append(node.name.value)
        node = node.parent
    return ".".join(reversed(names)) or "module"
