"""Numeric questions with drawn numbers as Moodle's calculated questions.

Every combination of the numbers becomes one item of Moodle's datasets, so that Moodle asks
only what the course would ask. What Moodle's formulas cannot say stays with one draw.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from course_lib.quiz import render, schema
from course_lib.quiz.expressions import evaluate
from course_lib.teach.export.items import Item, Refused, no_picture, number, one_variant, sub

MOST = 100  # items of a dataset, by Moodle's own limit
_SIGNS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_SAME = ("ceil", "exp", "floor", "log", "max", "min", "sqrt")


@dataclass(frozen=True)
class Formula:
    """An answer for Moodle to compute: text, tolerance, and Moodle's number of its kind."""

    text: str
    tolerance: float
    kind: str


def formula(item: Item) -> Formula | None:
    """Give the answer as Moodle's formula, or None (and a note) where it cannot be one."""
    asked = item.question
    if not isinstance(asked, schema.Numeric):
        return None
    try:
        text = _text(ast.parse(str(asked.answer), mode="eval").body, asked.variables)
        combinations(asked)
        for words in (asked.stem, asked.explanation):
            keep_names(item, words)
        if asked.tolerance.absolute and asked.tolerance.relative:
            raise Refused("two tolerances", "")
    except Refused:
        one_variant(item)
        return None
    if asked.tolerance.relative:
        return Formula(text, asked.tolerance.relative, "1")
    return Formula(text, asked.tolerance.absolute, "2")


def combinations(asked: schema.Numeric) -> list[dict[str, float]]:
    """Give every combination of a question's numbers.

    Raises:
        Refused: when there are more than Moodle keeps, or one has no answer.
    """
    count = math.prod(len(v) for v in asked.variables.values())
    if count > MOST:
        raise Refused(f"{count} combinations of numbers", f"use at most {MOST}")
    names = sorted(asked.variables)
    found = [dict(zip(names, values, strict=True))
             for values in itertools.product(*(asked.variables[n] for n in names))]  # fmt: skip
    try:
        for values in found:
            evaluate(asked.answer, values)
    except ValueError as error:
        raise Refused(str(error), "choose other numbers") from None
    return found


def keep_names(item: Item, words: str) -> str:
    """Give a text as HTML with ``{name}`` left for Moodle to fill.

    Raises:
        Refused: when a name lies in maths, or Moodle would take other braces for a name.
    """
    asked = item.question
    names = set(asked.variables) if isinstance(asked, schema.Numeric) else set()
    made = no_picture(render.block(words))
    wanted = [n for n in re.findall(r"(?<!\{)\{(\w+)\}(?!\})", words) if n in names]
    found = re.findall(r"\{([A-Za-z][^{}<>\"']*|=[^{}]*)\}", made)
    if sorted(wanted) != sorted(found):
        raise Refused("braces that Moodle would fill otherwise", "")
    return made


def _text(node: ast.expr, names: object) -> str:
    """Say an expression in Moodle's words; Python and PHP agree on what is let through."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return number(float(node.value))
    if isinstance(node, ast.Name):
        return "{" + node.id + "}"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return f"(0-{_text(node.operand, names)})"
    if isinstance(node, ast.BinOp):
        left, right = _text(node.left, names), _text(node.right, names)
        if isinstance(node.op, ast.Pow):
            return f"pow({left},{right})"
        if isinstance(node.op, ast.FloorDiv):
            return f"floor({left}/{right})"
        if type(node.op) in _SIGNS:
            return f"({left}{_SIGNS[type(node.op)]}{right})"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        given = ",".join(_text(a, names) for a in node.args)
        if node.func.id in _SAME:
            return f"{node.func.id}({given})"
        if node.func.id == "log2":
            return f"(log({given})/log(2))"
    raise Refused("a formula Moodle computes otherwise", "")  # round, %: halves and signs differ


def datasets(root: ET.Element, item: Item) -> None:
    """Write the numbers, item by item, all variables in step."""
    asked = item.question
    if not isinstance(asked, schema.Numeric):
        return
    listed = sub(root, "dataset_definitions")
    every = combinations(asked)
    for name in sorted(asked.variables):
        values = [c[name] for c in every]
        places = max(len(number(v).partition(".")[2]) for v in values)
        each = sub(listed, "dataset_definition")
        facts = (("status", "private"), ("name", name), ("distribution", "uniform"),
                 ("minimum", number(min(values))), ("maximum", number(max(values))),
                 ("decimals", str(places)))  # fmt: skip
        for tag, fact in facts[:2]:
            sub(sub(each, tag), "text", fact)
        sub(each, "type", "calculated")
        for tag, fact in facts[2:]:
            sub(sub(each, tag), "text", fact)
        sub(each, "itemcount", str(len(values)))
        items = sub(each, "dataset_items")
        for place, value in enumerate(values, 1):
            one = sub(items, "dataset_item")
            sub(one, "number", str(place))
            sub(one, "value", number(value))
        sub(each, "number_of_items", str(len(values)))
