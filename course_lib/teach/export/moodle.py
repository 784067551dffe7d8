"""Moodle XML. Source: the importer of Moodle's question/format/xml and its question types.

Right-hand sides of a matching question are plain text in Moodle. Marks of options must be
shares that Moodle knows, which those of right minus wrong are for up to ten right options.
"""

from __future__ import annotations

import base64
import html
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from course_lib.quiz import schema
from course_lib.teach.export import calculated
from course_lib.teach.export.items import (
    Item,
    Refused,
    accepted,
    clean,
    document,
    number,
    plain,
    right_number,
    sub,
)

SUFFIX = ".xml"
_KINDS = {"single": "multichoice", "multiple": "multichoice", "numeric": "numerical",
          "text": "shortanswer", "ordering": "ordering", "matching": "match"}  # fmt: skip
_EQUAL_CREDIT = "Moodle's own rule: each right option adds, each wrong one takes away"


def write(title: str, groups: Sequence[tuple[str, Sequence[ET.Element]]]) -> bytes:
    """Give a question bank: a category of the quiz's title, one below it for each pool.

    Args:
        title: of the quiz. groups: name of a pool (or "") and its questions.
    """
    root = ET.Element("quiz")
    for name, questions in groups:
        below = f"/{_category(name)}" if name else ""
        asked = sub(root, "question", type="category")
        text(sub(asked, "category"), f"$course$/top/{_category(title)}{below}")
        root.extend(questions)
    ET.indent(root, " ")
    return document(root)


def _category(name: str) -> str:
    return clean(name).replace("/", "//")


def text(parent: ET.Element, words: str) -> None:
    """Put words into Moodle's ``<text>``."""
    sub(parent, "text", words)


def _html(parent: ET.Element, tag: str, made: str, **attributes: str) -> ET.Element:
    child = sub(parent, tag, **attributes, format="html")
    text(child, made)
    return child


def question(item: Item) -> ET.Element:
    """Give one question.

    Raises:
        Refused: for partial credit that Moodle does not know, and maths in right-hand sides.
    """
    asked = item.question
    simple = None
    if isinstance(asked, schema.Numeric) and asked.variables:
        simple = calculated.formula(item)
    kind = "calculated" if simple else _KINDS[asked.type]
    root = ET.Element("question", {"type": kind})
    text(sub(root, "name"), item.title)
    stem = calculated.keep_names(item, asked.stem) if simple else item.stem
    body = _html(root, "questiontext", stem + _image(item))
    if item.picture:
        data = base64.b64encode(item.picture.data).decode()
        sub(body, "file", data, name=item.picture.name, path="/", encoding="base64")
    why = calculated.keep_names(item, asked.explanation) if simple else item.explanation
    _html(root, "generalfeedback", why)
    sub(root, "defaultgrade", number(asked.points))
    sub(root, "penalty", number(asked.hints[0].cost if asked.hints else 0.0))
    sub(root, "hidden", "0")
    sub(root, "idnumber", asked.id)
    if isinstance(asked, schema.Single | schema.Multiple):
        _choice(root, item, asked)
    elif isinstance(asked, schema.Numeric):
        _number(root, item, asked, simple)
    elif isinstance(asked, schema.ShortText):
        _short(root, item, asked)
    elif isinstance(asked, schema.Ordering):
        _ordering(root, item, asked)
    else:
        _matching(root, item, asked)
    _ending(root, item)
    return root


def _image(item: Item) -> str:
    if not item.picture:
        return ""
    alt = html.escape(item.picture.alt)
    return f'\n<p><img src="@@PLUGINFILE@@/{item.picture.name}" alt="{alt}" /></p>'


def _ending(root: ET.Element, item: Item) -> None:
    costs = {h.cost for h in item.question.hints}
    if len(costs) > 1:
        item.notes.append("Moodle lets every hint cost the same: what the first one costs")
    for hint in item.question.hints:
        _html(root, "hint", item.block(hint.text))
    text(sub(sub(root, "tags"), "tag"), f"objective {item.question.objective}")


def _choice(root: ET.Element, item: Item, asked: schema.Single | schema.Multiple) -> None:
    right = sum(o.correct for o in asked.options)
    single = isinstance(asked, schema.Single)
    if isinstance(asked, schema.Multiple) and asked.credit != "penalty":
        item.loses(f"the credit {asked.credit!r} of several options", _EQUAL_CREDIT)
    sub(root, "single", "true" if single else "false")
    sub(root, "shuffleanswers", "true" if asked.shuffle else "false")
    sub(root, "answernumbering", "abc")
    for o in asked.options:
        share = share_of(right) if o.correct else "0" if single else f"-{share_of(right)}"
        answer = _html(root, "answer", item.inline(o.text), fraction=share)
        _html(answer, "feedback", item.block(o.feedback))


def share_of(count: int) -> str:
    """Give a hundred over ``count`` the way Moodle's list of grades has it."""
    return f"{100 / count:.5f}".rstrip("0").rstrip(".")


def _number(
    root: ET.Element, item: Item, asked: schema.Numeric, simple: calculated.Formula | None
) -> None:
    right, room = (0.0, 0.0) if simple else right_number(item)
    answer = sub(root, "answer", fraction="100")
    text(answer, simple.text if simple else number(right))
    sub(answer, "tolerance", number(simple.tolerance if simple else room))
    if simple:
        sub(answer, "tolerancetype", simple.kind)
        sub(answer, "correctanswerformat", "1")
        sub(answer, "correctanswerlength", "4")
    _html(answer, "feedback", "")
    units = {**({asked.unit: 1.0} if asked.unit else {}), **asked.units}
    named = {unit: factor for unit, factor in units.items() if unit}
    sub(root, "unitgradingtype", "0")
    sub(root, "unitpenalty", "0")
    sub(root, "showunits", "0" if named else "3")
    sub(root, "unitsleft", "0")
    if named:
        listed = sub(root, "units")
        for unit, factor in sorted(named.items(), key=lambda u: u[1] != 1):
            each = sub(listed, "unit")
            sub(each, "multiplier", number(1 / factor))
            sub(each, "unit_name", clean(unit))
    if simple:
        calculated.datasets(root, item)


def _short(root: ET.Element, item: Item, asked: schema.ShortText) -> None:
    sub(root, "usecase", "0")
    right = accepted(asked.accept)
    for words in right:
        answer = sub(root, "answer", fraction="100", format="plain_text")
        text(answer, literal(words))
        _html(answer, "feedback", "")
    for near, words in nearly(asked, right):
        answer = sub(root, "answer", fraction="0", format="plain_text")
        text(answer, literal(words))
        _html(answer, "feedback", item.block(near.feedback))


def literal(words: str) -> str:
    """Keep Moodle from taking an asterisk for any number of characters."""
    return words.replace("*", r"\*")


def nearly(asked: schema.ShortText, right: Sequence[str]) -> list[tuple[schema.Near, str]]:
    """Give each wrong answer that has feedback of its own, once, by its spellings."""
    found: list[tuple[schema.Near, str]] = []
    for near in asked.near:
        taken = [*right, *(words for _, words in found)]
        found += [(near, words) for words in accepted([near.text], taken)]
    return found


def _ordering(root: ET.Element, item: Item, asked: schema.Ordering) -> None:
    rule = "ALL_OR_NOTHING"
    if asked.credit == "per_option":
        item.loses("the credit 'per_option' of an order",
                   "Moodle's own rule: an item earns when its right successor follows")  # fmt: skip
        rule = "RELATIVE_NEXT_EXCLUDE_LAST"
    for tag, value in (
        ("layouttype", "VERTICAL"),
        ("selecttype", "ALL"),
        ("selectcount", "0"),
        ("gradingtype", rule),
        ("showgrading", "HIDE"),
        ("numberingstyle", "none"),
    ):
        sub(root, tag, value)
    for place, words in enumerate(asked.items, 1):
        answer = _html(root, "answer", item.inline(words), fraction=f"{place}.0000000")
        _html(answer, "feedback", "")
    for tag in ("correctfeedback", "partiallycorrectfeedback", "incorrectfeedback"):
        _html(root, tag, "")


def _matching(root: ET.Element, item: Item, asked: schema.Matching) -> None:
    if asked.credit == "all_or_nothing":
        item.loses("all or nothing for pairs", "Moodle's own rule: each right pair earns its share")
    sub(root, "shuffleanswers", "true")
    rights = [p.right for p in asked.pairs] + list(asked.extra)
    if len({plain(item.inline(r)) for r in rights}) < len(rights):
        raise Refused("two right-hand sides differ in markup alone", "word them differently")
    for left, right in itertools.zip_longest([p.left for p in asked.pairs], rights):
        each = _html(root, "subquestion", item.inline(left) if left else "")
        text(sub(each, "answer"), plain(item.inline(right)))
