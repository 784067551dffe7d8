"""The grading rules of the course said in QTI 2.1: declarations and response processing.

Every rule gives exactly the points that :mod:`course_lib.quiz.grade` gives.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from course_lib.quiz import schema
from course_lib.teach.export.items import Item, accepted, number, right_number, sub
from course_lib.teach.export.moodle import nearly


def declare(root: ET.Element, item: Item) -> bool:
    """Write the declarations; tell whether a mapping gives the points."""
    asked = item.question
    kind, many, right = _answer(item)
    response = sub(root, "responseDeclaration", identifier="RESPONSE", cardinality=many,
                   baseType=kind)  # fmt: skip
    listed = sub(response, "correctResponse")
    for value in right:
        sub(listed, "value", value)
    points = _mapping(item)
    if points:
        mapped = sub(response, "mapping", lowerBound="0", upperBound=number(asked.points),
                     defaultValue="0")  # fmt: skip
        for key, earned in points.items():
            sensitive = {"caseSensitive": "false"} if kind == "string" else {}
            sub(mapped, "mapEntry", mapKey=key, mappedValue=number(earned), **sensitive)
    for name, default in (("SCORE", 0.0), ("MAXSCORE", asked.points)):
        outcome = sub(root, "outcomeDeclaration", identifier=name, cardinality="single",
                      baseType="float")  # fmt: skip
        sub(sub(outcome, "defaultValue"), "value", number(default))
    sub(root, "outcomeDeclaration", identifier="FEEDBACK", cardinality="multiple",
        baseType="identifier")  # fmt: skip
    return bool(points)


def _answer(item: Item) -> tuple[str, str, Sequence[str]]:
    """Give base type, cardinality and the right answer."""
    asked = item.question
    if isinstance(asked, schema.Single | schema.Multiple):
        many = "single" if isinstance(asked, schema.Single) else "multiple"
        return "identifier", many, [f"o{i}" for i, o in enumerate(asked.options, 1) if o.correct]
    if isinstance(asked, schema.Numeric):
        return "float", "single", [number(right_number(item)[0])]
    if isinstance(asked, schema.ShortText):
        return "string", "single", accepted(asked.accept)[:1]
    if isinstance(asked, schema.Ordering):
        return "identifier", "ordered", [f"i{i}" for i in range(1, len(asked.items) + 1)]
    return "directedPair", "multiple", [f"l{i} r{i}" for i in range(1, len(asked.pairs) + 1)]


def _mapping(item: Item) -> Mapping[str, float]:
    """Give what each part of an answer earns where points simply add up; else {}."""
    asked = item.question
    if isinstance(asked, schema.ShortText):
        return {words: asked.points for words in accepted(asked.accept)}
    if isinstance(asked, schema.Matching) and asked.credit == "per_option":
        return {f"l{i} r{i}": asked.points / len(asked.pairs)
                for i in range(1, len(asked.pairs) + 1)}  # fmt: skip
    if isinstance(asked, schema.Multiple) and asked.credit == "penalty":
        share = asked.points / sum(o.correct for o in asked.options)
        return {f"o{i}": share if o.correct else -share for i, o in enumerate(asked.options, 1)}
    return {}


def process(root: ET.Element, item: Item, mapped: bool) -> None:
    """Write the response processing: points, then which feedback is shown."""
    rules = sub(root, "responseProcessing")
    asked = item.question
    if isinstance(asked, schema.ShortText):
        when = sub(sub(rules, "responseCondition"), "responseIf")
        either = sub(when, "or")  # the mapping says the same, but not every system heeds its case
        for words in accepted(asked.accept):
            _same_words(either, words)
        _value(_set(when, "SCORE"), asked.points)
    elif mapped:
        when = _answered(rules)
        sub(_set(when, "SCORE"), "mapResponse", identifier="RESPONSE")
    elif isinstance(asked, schema.Multiple) and asked.credit == "per_option":
        _each_option(rules, asked)
    elif isinstance(asked, schema.Ordering) and asked.credit == "per_option":
        _each_follower(rules, asked)
    else:
        when = sub(sub(rules, "responseCondition"), "responseIf")
        if isinstance(asked, schema.Numeric):
            _between(when, *right_number(item))
        else:
            same = sub(when, "match")
            sub(same, "variable", identifier="RESPONSE")
            sub(same, "correct", identifier="RESPONSE")
        _value(_set(when, "SCORE"), asked.points)
    _feedback(rules, item)


def _between(when: ET.Element, right: float, room: float) -> None:
    """Ask for a number between two: what more systems read than a tolerance."""
    room = max(room, 1e-9 * max(1.0, abs(right)))
    both = sub(when, "and")
    for sign, tag in ((-1, "gte"), (1, "lte")):
        compared = sub(both, tag)
        sub(compared, "variable", identifier="RESPONSE")
        _value(compared, right + sign * room)


def _answered(rules: ET.Element) -> ET.Element:
    when = sub(sub(rules, "responseCondition"), "responseIf")
    sub(sub(sub(when, "not"), "isNull"), "variable", identifier="RESPONSE")
    return when


def _set(parent: ET.Element, name: str) -> ET.Element:
    return sub(parent, "setOutcomeValue", identifier=name)


def _value(parent: ET.Element, value: float) -> None:
    sub(parent, "baseValue", number(value), baseType="float")


def _add(when: ET.Element, value: float) -> None:
    total = sub(_set(when, "SCORE"), "sum")
    sub(total, "variable", identifier="SCORE")
    _value(total, value)


def _member(parent: ET.Element, name: str) -> None:
    found = sub(parent, "member")
    sub(found, "baseValue", name, baseType="identifier")
    sub(found, "variable", identifier="RESPONSE")


def _same_words(parent: ET.Element, words: str) -> None:
    same = sub(parent, "stringMatch", caseSensitive="false", substring="false")
    sub(same, "variable", identifier="RESPONSE")
    sub(same, "baseValue", words, baseType="string")


def _each_option(rules: ET.Element, asked: schema.Multiple) -> None:
    """Every option decided rightly earns its share, once something is chosen."""
    share = asked.points / len(asked.options)
    inner = _answered(rules)
    for i, o in enumerate(asked.options, 1):
        when = sub(sub(inner, "responseCondition"), "responseIf")
        _member(when if o.correct else sub(when, "not"), f"o{i}")
        _add(when, share)


def _each_follower(rules: ET.Element, asked: schema.Ordering) -> None:
    """Every item that comes somewhere before its right successor earns its share."""
    count = len(asked.items)
    share = asked.points / (count - 1)
    for i in range(1, count):
        when = sub(sub(rules, "responseCondition"), "responseIf")
        either = sub(when, "or")
        for first, later in itertools.combinations(range(1, count + 1), 2):
            both = sub(either, "and")
            _at(both, first, f"i{i}")
            _at(both, later, f"i{i + 1}")
        _add(when, share)


def _at(parent: ET.Element, place: int, name: str) -> None:
    same = sub(parent, "match")
    sub(sub(same, "index", n=str(place)), "variable", identifier="RESPONSE")
    sub(same, "baseValue", name, baseType="identifier")


def _feedback(rules: ET.Element, item: Item) -> None:
    asked = item.question
    shown = sub(_set(rules, "FEEDBACK"), "multiple")
    if isinstance(asked, schema.Single | schema.Multiple):
        sub(shown, "variable", identifier="RESPONSE")
    sub(shown, "baseValue", "explanation", baseType="identifier")
    if not isinstance(asked, schema.ShortText):
        return
    for i, (_, words) in enumerate(nearly(asked, accepted(asked.accept)), 1):
        when = sub(sub(rules, "responseCondition"), "responseIf")
        _same_words(when, words)
        both = sub(_set(when, "FEEDBACK"), "multiple")
        sub(both, "variable", identifier="FEEDBACK")
        sub(both, "baseValue", f"near{i}", baseType="identifier")
