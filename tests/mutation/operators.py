"""What is broken: cosmic-ray's operators that make plausible faults, and two of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import parso
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import OPERATOR_PROVIDERS
from parso.python.tree import Keyword

if TYPE_CHECKING:
    from collections.abc import Iterator

# A comparison moves by its boundary or turns round: each other replacement is noticed by what
# notices one of these two.
_COMPARISONS = {
    "Lt": ("LtE", "GtE"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "LtE"),
    "GtE": ("Gt", "Lt"),
    "Eq": ("NotEq",),
    "NotEq": ("Eq",),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
_ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_FloorDiv", "FloorDiv_Mul", "Div_Mul", "BitAnd_BitOr")
_OTHERS = (
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_USub_UAdd",
    "NumberReplacer",
    "ZeroIterationForLoop",
)


class RemoveStatement(Operator):
    """Puts `pass` in the place of a statement that has an effect.

    The faults that cost most are of this kind: a slot not given back, a timer not cancelled, a
    waiter not woken. Assignments to plain names stay, since whoever reads the name notices.
    """

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type == "simple_stmt" and _has_effect(node.children[0]):
            statement = node.children[0]
            yield statement.start_pos, statement.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        statement = node.children[0]
        prefix = statement.get_first_leaf().prefix
        node.children[0] = Keyword("pass", statement.start_pos, prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example("slots.give()\n", "pass\n"),
            Example("self.timer = None\n", "pass\n"),
            Example("raise ValueError\n", "pass\n"),
        )


def _has_effect(statement: Any) -> bool:
    if statement.type == "expr_stmt":
        target, operation = statement.children[:2]
        return target.type == "atom_expr" and operation.type != "annassign"
    if statement.type == "keyword":  # of those that stand alone
        return statement.value in ("return", "raise")
    if statement.type == "return_stmt":
        return False
    return statement.type in ("atom_expr", "await_expr", "del_stmt", "raise_stmt", "yield_expr")


class CatchLess(Operator):
    """Takes one of the exceptions out of an `except`; cosmic-ray's own fails at dotted names."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        for exception in _caught(node):
            yield exception.start_pos, exception.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        left = [exception.get_code().strip() for exception in _caught(node)]
        del left[index]
        node.children[1] = parso.parse(f" ({' '.join(f'{exception},' for exception in left)})")
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example("try: pass\nexcept OSError: pass", "try: pass\nexcept (): pass"),
            Example(
                "try: pass\nexcept (OSError, a.B) as e: pass",
                "try: pass\nexcept (OSError,) as e: pass",
                occurrence=1,
            ),
        )


def _caught(node: Any) -> list[Any]:
    if node.type != "except_clause":
        return []
    expression = node.children[1]
    if expression.type == "atom" and expression.children[1].type == "testlist_comp":
        return expression.children[1].children[::2]
    return [expression]


OURS = {operator.__name__: operator for operator in (RemoveStatement, CatchLess)}
OPERATOR_PROVIDERS["aiosmrt"] = OURS
OPERATORS = [
    *(f"aiosmrt/{name}" for name in OURS),
    *(f"core/ReplaceBinaryOperator_{pair}" for pair in _ARITHMETIC),
    *(
        f"core/ReplaceComparisonOperator_{before}_{after}"
        for before, replacements in _COMPARISONS.items()
        for after in replacements
    ),
    *(f"core/{name}" for name in _OTHERS),
]
