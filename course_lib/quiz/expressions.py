"""Arithmetic and spellings in quiz files: a few operators, functions and alternatives."""

from __future__ import annotations

import ast
import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

MOST_SPELLINGS = 200  # of one short answer
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
LONGEST = 200  # characters


def evaluate(expression: float | str, values: Mapping[str, float]) -> float:
    """Compute an arithmetic expression.

    Args:
        expression: a number, or text such as ``"tp / (tp + fp)"``.
        values: the variables.

    Raises:
        ValueError: for anything but arithmetic, an unknown name, or a result that is not
            a finite number.
    """
    if isinstance(expression, int | float):
        return float(expression)
    if len(expression) > LONGEST:
        raise ValueError(f"the expression is longer than {LONGEST} characters")
    try:
        result = float(_value(ast.parse(expression, mode="eval").body, values))
    except (SyntaxError, ZeroDivisionError, OverflowError, TypeError) as error:
        raise ValueError(f"cannot compute {expression!r}: {error}") from None
    if not math.isfinite(result):
        raise ValueError(f"{expression!r} does not give a finite number")
    return result


def _value(node: ast.expr, values: Mapping[str, float]) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in values:
            raise ValueError(f"unknown variable {node.id!r}; known: {', '.join(sorted(values))}")
        return values[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, values)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left, values), _value(node.right, values)
        if isinstance(node.op, ast.Pow) and abs(right) > 64:
            raise ValueError("exponents go up to 64")
        return _BINARY[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _FUNCTIONS:
            raise ValueError(f"unknown function {node.func.id!r}")
        return _FUNCTIONS[node.func.id](*(_value(a, values) for a in node.args))
    raise ValueError(f"only arithmetic is allowed, not {ast.unparse(node)!r}")


def spellings(pattern: str) -> tuple[str, ...]:
    """Multiply out the alternatives of a short answer: ``{colo|colou}r`` to both spellings.

    Raises:
        ValueError: for braces that do not pair up or nest, or more than 200 spellings.
    """
    parts = re.split(r"\{([^{}]*)\}", pattern)
    if any("{" in text or "}" in text for text in parts[::2]):
        raise ValueError(f"braces that do not pair up in {pattern!r}")
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    if math.prod(map(len, choices)) > MOST_SPELLINGS:
        raise ValueError(f"more than {MOST_SPELLINGS} spellings in {pattern!r}")
    return tuple("".join(chosen) for chosen in itertools.product(*choices))
