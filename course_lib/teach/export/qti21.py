"""QTI 2.1: a content package of a test and its items, graded by their own response processing.

Source: IMS Question and Test Interoperability 2.1, the ASI information model and XML binding.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from course_lib.quiz import schema
from course_lib.teach.export import scoring
from course_lib.teach.export.items import (
    Item,
    Refused,
    accepted,
    clean,
    document,
    one_unit,
    one_variant,
    sub,
)
from course_lib.teach.export.moodle import nearly
from course_lib.teach.export.package import Resource, manifest, pack

SUFFIX = ".zip"
NAMESPACE = "http://www.imsglobal.org/xsd/imsqti_v2p1"
PACKAGE = "http://www.imsglobal.org/xsd/imscp_v1p1"
_MATH = "http://www.w3.org/1998/Math/MathML"
_KEPT = {"href", "class", "src", "alt", "colspan", "rowspan"}  # of XHTML in QTI


def write(
    identifier: str,
    title: str,
    groups: Sequence[tuple[str, int, Sequence[tuple[Item, ET.Element]]]],
) -> bytes:
    """Give the package.

    Args:
        identifier: of the quiz. title: of the quiz.
        groups: name of a pool (or ""), how many questions are drawn (0 for all), and they.
    """
    test = _root("assessmentTest", identifier=f"test-{identifier}", title=clean(title))
    part = sub(test, "testPart", identifier="part1", navigationMode="nonlinear",
               submissionMode="individual")  # fmt: skip
    content: dict[str, bytes] = {}
    resources = []
    for place, (name, count, asked) in enumerate(groups, 1):
        section = sub(part, "assessmentSection", identifier=f"section{place}",
                      title=clean(name or title), visible="true")  # fmt: skip
        if count:
            sub(section, "selection", select=str(count))
            sub(section, "ordering", shuffle="true")
        for item, made in asked:
            own = f"q{item.question.id}"
            sub(section, "assessmentItemRef", identifier=own, href=f"items/{own}.xml")
            content[f"items/{own}.xml"] = document(made)
            listed = [f"items/{own}.xml"]
            if item.picture:
                listed.append(f"items/images/{item.picture.name}")
                content[listed[-1]] = item.picture.data
            resources.append(Resource(own, "imsqti_item_xmlv2p1", listed))
    ET.indent(test, " ")
    content["test.xml"] = document(test)
    needs = [r.identifier for r in resources]
    resources.insert(0, Resource("test", "imsqti_test_xmlv2p1", ["test.xml"], needs))
    content["imsmanifest.xml"] = manifest(
        f"package-{identifier}", PACKAGE, ("QTIv2.1 Package", "1.0.0"), resources
    )
    return pack(content)


def _root(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {"xmlns": NAMESPACE, **attributes})


def question(item: Item) -> ET.Element:
    """Give one question as an assessment item.

    Raises:
        Refused: for a text that is not well-formed as XML.
    """
    asked = item.question
    root = _root("assessmentItem", identifier=f"q{asked.id}", title=item.title,
                 adaptive="false", timeDependent="false")  # fmt: skip
    one_variant(item)
    declared = scoring.declare(root, item)
    body = sub(root, "itemBody")
    fill(sub(body, "div"), item.stem)
    if item.picture:
        sub(sub(body, "p"), "img", src=f"images/{item.picture.name}", alt=item.picture.alt)
    told = _interaction(body, item)
    scoring.process(root, item, declared)
    told["explanation"] = item.explanation
    for name, made in told.items():
        feedback = sub(root, "modalFeedback", outcomeIdentifier="FEEDBACK", identifier=name,
                       showHide="show")  # fmt: skip
        fill(feedback, made)
    return root


def fill(parent: ET.Element, made: str) -> None:
    """Put HTML into an element: as XML, without what QTI's XHTML does not know.

    Raises:
        Refused: when it is not well-formed.
    """
    try:
        root = ET.fromstring(f"<div>{made}</div>")
    except ET.ParseError as error:
        raise Refused(f"a text is not well-formed as XML ({error})", "simplify it") from None
    for element in root.iter():
        maths = element.tag.startswith(f"{{{_MATH}}}")
        element.tag = element.tag.rpartition("}")[2]
        if maths:
            kept = {k: v for k, v in element.attrib.items() if k not in ("xmlns",)}
        else:
            kept = {k: v for k, v in element.attrib.items() if k in _KEPT}
        element.attrib.clear()
        element.attrib.update({"xmlns": _MATH, **kept} if element.tag == "math" else kept)
    parent.text = root.text
    parent.extend(root)


def _interaction(body: ET.Element, item: Item) -> dict[str, str]:
    """Write what the learner does; give feedback by its identifier."""
    asked = item.question
    if isinstance(asked, schema.Single | schema.Multiple):
        most = "1" if isinstance(asked, schema.Single) else "0"
        listed = sub(body, "choiceInteraction", responseIdentifier="RESPONSE", maxChoices=most,
                     shuffle="true" if asked.shuffle else "false")  # fmt: skip
        for i, o in enumerate(asked.options, 1):
            fill(sub(listed, "simpleChoice", identifier=f"o{i}"), item.inline(o.text))
        return {f"o{i}": item.block(o.feedback) for i, o in enumerate(asked.options, 1)}
    if isinstance(asked, schema.Numeric | schema.ShortText):
        line = sub(body, "p")
        field = sub(line, "textEntryInteraction", responseIdentifier="RESPONSE",
                    expectedLength="20")  # fmt: skip
        if isinstance(asked, schema.Numeric):
            one_unit(item)
            field.tail = f" {clean(asked.unit)}" if asked.unit else None
            return {}
        found = nearly(asked, accepted(asked.accept))
        return {f"near{i}": item.block(near.feedback) for i, (near, _) in enumerate(found, 1)}
    if isinstance(asked, schema.Ordering):
        listed = sub(body, "orderInteraction", responseIdentifier="RESPONSE", shuffle="true")
        for i, words in sorted(enumerate(asked.items, 1), key=lambda each: each[1]):
            fill(sub(listed, "simpleChoice", identifier=f"i{i}"), item.inline(words))
        return {}
    return _pairs(body, item, asked)


def _pairs(body: ET.Element, item: Item, asked: schema.Matching) -> dict[str, str]:
    listed = sub(body, "matchInteraction", responseIdentifier="RESPONSE", shuffle="true",
                 maxAssociations="0")  # fmt: skip
    left = sub(listed, "simpleMatchSet")
    for i, pair in enumerate(asked.pairs, 1):
        fill(sub(left, "simpleAssociableChoice", identifier=f"l{i}", matchMax="1"),
             item.inline(pair.left))  # fmt: skip
    right = sub(listed, "simpleMatchSet")
    rights = [*(p.right for p in asked.pairs), *asked.extra]
    for j, words in enumerate(rights, 1):
        fill(sub(right, "simpleAssociableChoice", identifier=f"r{j}", matchMax="0"),
             item.inline(words))  # fmt: skip
    return {}
