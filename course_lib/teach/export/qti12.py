"""QTI 1.2 the way Canvas and Blackboard import it: a zip of a manifest and one assessment.

Scores run from 0 to 100 and ``points_possible`` says what they are worth, as Canvas writes it.
The first condition of a question with several right options is the one these systems read; the
conditions after it say the course's partial credit as QTI does.
"""

from __future__ import annotations

import html
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from course_lib.quiz import schema
from course_lib.teach.export.items import (
    Item,
    Picture,
    Refused,
    accepted,
    clean,
    document,
    number,
    one_unit,
    one_variant,
    plain,
    right_number,
    sub,
)
from course_lib.teach.export.moodle import nearly
from course_lib.teach.export.package import Resource, manifest, pack

SUFFIX = ".zip"
NAMESPACE = "http://www.imsglobal.org/xsd/ims_qtiasiv1p2"
PACKAGE = "http://www.imsglobal.org/xsd/imsccv1p1/imscp_v1p1"
_KINDS = {"single": "multiple_choice_question", "multiple": "multiple_answers_question",
          "numeric": "numerical_question", "text": "short_answer_question",
          "matching": "matching_question"}  # fmt: skip


def write(
    identifier: str,
    title: str,
    groups: Sequence[tuple[str, int, Sequence[ET.Element]]],
    pictures: Sequence[Picture],
) -> bytes:
    """Give the package.

    Args:
        identifier: of the quiz. title: of the quiz.
        groups: name of a pool (or ""), how many questions are drawn (0 for all), and they.
        pictures: of all questions.
    """
    root = ET.Element("questestinterop", {"xmlns": NAMESPACE})
    quiz = sub(root, "assessment", ident=identifier, title=clean(title))
    _fields(sub(quiz, "qtimetadata"), cc_maxattempts="1")
    section = sub(quiz, "section", ident="root_section")
    for name, count, questions in groups:
        if count:
            pool = sub(section, "section", ident=f"pool_{name}", title=clean(name))
            drawn = sub(sub(pool, "selection_ordering"), "selection")
            sub(drawn, "selection_number", str(count))
            worth = _points(questions[0])
            sub(sub(drawn, "selection_extension"), "points_per_item", worth)
            pool.extend(questions)
        else:
            section.extend(questions)
    ET.indent(root, " ")
    name = f"{identifier}/{identifier}.xml"
    images = [f"images/{p.name}" for p in pictures]
    resources = [Resource(identifier, "imsqti_xmlv1p2", [name])]
    resources += [Resource(f"image{i}", "webcontent", [f]) for i, f in enumerate(images, 1)]
    content = {name: document(root), **{f"images/{p.name}": p.data for p in pictures}}
    content["imsmanifest.xml"] = manifest(
        f"{identifier}-package", PACKAGE, ("IMS Content", "1.1.3"), resources
    )
    return pack(content)


def _points(item: ET.Element) -> str:
    fields = item.iter("qtimetadatafield")
    found = {f.findtext("fieldlabel"): f.findtext("fieldentry") for f in fields}
    return found["points_possible"] or "1"


def _fields(parent: ET.Element, **fields: str) -> None:
    for label, entry in fields.items():
        each = sub(parent, "qtimetadatafield")
        sub(each, "fieldlabel", label)
        sub(each, "fieldentry", entry)


def question(item: Item) -> ET.Element:
    """Give one question.

    Raises:
        Refused: for an order, which Canvas does not import, and maths in right-hand sides.
    """
    asked = item.question
    if isinstance(asked, schema.Ordering):
        raise Refused("Canvas's QTI 1.2 has no ordering questions", "use --to qti21 or moodle")
    root = ET.Element("item", {"ident": f"q{asked.id}", "title": item.title})
    _fields(sub(sub(root, "itemmetadata"), "qtimetadata"), question_type=_KINDS[asked.type],
            points_possible=number(asked.points))  # fmt: skip
    one_variant(item)
    shown = sub(root, "presentation")
    _html(shown, item.stem + one_unit(item) + _image(item))
    rules = ET.Element("resprocessing")
    sub(sub(rules, "outcomes"), "decvar", maxvalue="100", minvalue="0", varname="SCORE",
        vartype="Decimal")  # fmt: skip
    _show(_rule(rules, True), "general_fb", ET.Element("other"))
    told = {"general_fb": item.explanation}
    if isinstance(asked, schema.Single | schema.Multiple):
        told |= _choice(shown, rules, item, asked)
    elif isinstance(asked, schema.Numeric):
        _field(shown, "Decimal")
        _number(rules, item)
    elif isinstance(asked, schema.ShortText):
        _field(shown, "String")
        told |= _short(rules, item, asked)
    else:
        _matching(shown, rules, item, asked)
    root.append(rules)
    for name, made in told.items():
        feedback = sub(root, "itemfeedback", ident=name)
        _html(sub(feedback, "flow_mat"), made)
    return root


def _html(parent: ET.Element, made: str) -> None:
    sub(sub(parent, "material"), "mattext", made, texttype="text/html")


def _image(item: Item) -> str:
    if not item.picture:
        return ""
    alt = html.escape(item.picture.alt)
    return f'<p><img src="%24IMS-CC-FILEBASE%24/images/{item.picture.name}" alt="{alt}" /></p>'


def _rule(rules: ET.Element, more: bool) -> ET.Element:
    return sub(rules, "respcondition", **{"continue": "Yes" if more else "No"})


def _show(rule: ET.Element, name: str, when: ET.Element) -> None:
    sub(rule, "conditionvar").append(when)
    sub(rule, "displayfeedback", feedbacktype="Response", linkrefid=name)


def _equal(value: str, respondent: str = "response1", tag: str = "varequal") -> ET.Element:
    made = ET.Element(tag, {"respident": respondent})
    made.text = value
    return made


def _score(rules: ET.Element, when: Sequence[ET.Element], action: str, value: float) -> None:
    rule = _rule(rules, action != "Set")
    sub(rule, "conditionvar").extend(when)
    sub(rule, "setvar", number(round(value, 6)), action=action, varname="SCORE")


def _choice(
    shown: ET.Element, rules: ET.Element, item: Item, asked: schema.Single | schema.Multiple
) -> dict[str, str]:
    single = isinstance(asked, schema.Single)
    given = sub(shown, "response_lid", ident="response1",
                rcardinality="Single" if single else "Multiple")  # fmt: skip
    listed = sub(given, "render_choice", shuffle="Yes" if asked.shuffle else "No")
    told = {}
    for i, o in enumerate(asked.options, 1):
        _html(sub(listed, "response_label", ident=f"o{i}"), item.inline(o.text))
        _show(_rule(rules, True), f"o{i}_fb", _equal(f"o{i}"))
        told[f"o{i}_fb"] = item.block(o.feedback)
    right = {f"o{i}" for i, o in enumerate(asked.options, 1) if o.correct}
    if isinstance(asked, schema.Multiple):
        _several(rules, item, asked, right)
    else:
        _score(rules, [_equal(min(right))], "Set", 100)
    return told


def _several(rules: ET.Element, item: Item, asked: schema.Multiple, right: set[str]) -> None:
    """Say the credit of several options: all of it first, then share by share."""
    names = [f"o{i}" for i in range(1, len(asked.options) + 1)]
    every = ET.Element("and")
    for name in names:
        (every if name in right else sub(every, "not")).append(_equal(name))
    _score(rules, [every], "Set", 100)
    if asked.credit != "penalty":
        item.notes.append(f"the file says its credit {asked.credit!r}; Canvas itself counts right "
                          "minus wrong options")  # fmt: skip
    if asked.credit == "all_or_nothing":
        return
    parts = len(right) if asked.credit == "penalty" else len(names)
    if asked.credit == "per_option":
        answered = ET.Element("not")
        sub(answered, "unanswered", respident="response1")
        _score(rules, [answered], "Add", 100 * (len(names) - len(right)) / parts)
    for name in names:
        _score(rules, [_equal(name)], "Add" if name in right else "Subtract", 100 / parts)


def _field(shown: ET.Element, kind: str) -> None:
    given = sub(shown, "response_str", ident="response1", rcardinality="Single")
    sub(sub(given, "render_fib", fibtype=kind), "response_label", ident="answer1")


def _number(rules: ET.Element, item: Item) -> None:
    right, room = right_number(item)
    either = ET.Element("or")
    either.append(_equal(number(right)))
    if room:
        both = sub(either, "and")
        both.append(_equal(number(right - room), tag="vargte"))
        both.append(_equal(number(right + room), tag="varlte"))
    _score(rules, [either], "Set", 100)


def _short(rules: ET.Element, item: Item, asked: schema.ShortText) -> dict[str, str]:
    right = accepted(asked.accept)
    told = {}
    for i, (near, words) in enumerate(nearly(asked, right), 1):
        _show(_rule(rules, True), f"near{i}_fb", _equal(words))
        told[f"near{i}_fb"] = item.block(near.feedback)
    _score(rules, [_equal(words) for words in right], "Set", 100)
    return told


def _matching(shown: ET.Element, rules: ET.Element, item: Item, asked: schema.Matching) -> None:
    rights = [*(p.right for p in asked.pairs), *asked.extra]
    words = [plain(item.inline(r)) for r in rights]
    if len(set(words)) < len(words):
        raise Refused("two right-hand sides differ in markup alone", "word them differently")
    for i, pair in enumerate(asked.pairs, 1):
        given = sub(shown, "response_lid", ident=f"response_l{i}")
        _html(given, item.inline(pair.left))
        listed = sub(given, "render_choice")
        for j, text in enumerate(words, 1):
            label = sub(listed, "response_label", ident=f"r{j}")
            sub(sub(label, "material"), "mattext", text)
    pairs = [_equal(f"r{i}", f"response_l{i}") for i in range(1, len(asked.pairs) + 1)]
    if asked.credit == "all_or_nothing":
        every = ET.Element("and")
        every.extend(pairs)
        _score(rules, [every], "Set", 100)
        item.notes.append("the file says all or nothing; Canvas itself counts pair by pair")
        return
    for right in pairs:
        _score(rules, [right], "Add", 100 / len(pairs))
