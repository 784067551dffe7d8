"""Read QTI with pyslet, in an environment of its own: ``python qti.py VERSION PACKAGE…``.

Standard input holds ``{package: {item: [answers]}}``; standard output gets what pyslet reads.
For QTI 2.1 pyslet's own response processing scores the answers. For QTI 1.2, where it has none,
the tree of every item as pyslet read it is given.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import pyslet.imsqtiv1p2p1 as qti1
import pyslet.imsqtiv2p1 as qti2
import pyslet.qtiv2.variables as variables

logging.disable(logging.CRITICAL)
OLD = "http://www.imsglobal.org/xsd/ims_qtiasiv1p2"
ET.register_namespace("", OLD)


def words(element: Any) -> str:
    if isinstance(element, str):
        return element
    return "".join(words(child) for child in element.get_children())


def tree(element: Any) -> Any:
    if isinstance(element, str):
        return element
    named = {
        k[1] if isinstance(k, tuple) else k: str(v) for k, v in element.get_attributes().items()
    }
    return [element.xmlname, named, [tree(c) for c in element.get_children()]]


def scored(item: Any, answer: Any) -> dict[str, Any]:
    state = variables.ItemSessionState(item)
    state.begin_session()
    state.set_outcome_defaults()
    if answer is not None:
        if isinstance(answer, list) and answer and isinstance(answer[0], list):
            answer = [tuple(pair) for pair in answer]
        state["RESPONSE"].set_value(answer)
    item.ResponseProcessing.run(state)
    shown = state["FEEDBACK"].value or {}
    return {"score": state["SCORE"].value, "shown": sorted(shown)}


def read_new(package: zipfile.ZipFile, answers: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name in package.namelist():
        if not name.startswith("items/q"):
            continue
        document = qti2.QTIDocument()
        document.read(src=io.BytesIO(package.read(name)))
        item = document.root
        state = variables.ItemSessionState(item)
        state.begin_session()
        choices = {
            c.identifier: words(c)
            for c in item.find_children_depth_first(qti2.QTIElement)
            if c.xmlname in ("simpleChoice", "simpleAssociableChoice")
        }
        found[item.identifier] = {
            "title": item.title,
            "points": state["MAXSCORE"].value,
            "stem": words(item.ItemBody),
            "choices": choices,
            "told": {f.identifier: words(f) for f in item.QTIModalFeedback},
            "scored": [scored(item, a) for a in answers.get(item.identifier, [])],
        }
    return found


def read_old(package: zipfile.ZipFile) -> dict[str, Any]:
    """Each item by itself: pyslet 0.7 cannot walk a whole assessment."""
    name = next(n for n in package.namelist() if n.startswith("quiz-"))
    found = {}
    for element in ET.fromstring(package.read(name)).iter(f"{{{OLD}}}item"):
        alone = ET.Element(f"{{{OLD}}}questestinterop")
        alone.append(element)
        document = qti1.QTIDocument()
        document.read(src=io.BytesIO(ET.tostring(alone)))
        [item] = [c for c in tree(document.root)[2] if not isinstance(c, str)]
        found[item[1]["ident"]] = item
    return found


asked = json.load(sys.stdin)
read = {}
for path in map(Path, sys.argv[2:]):
    with zipfile.ZipFile(path) as opened:
        new = sys.argv[1] == "2.1"
        read[path.stem] = read_new(opened, asked[path.stem]) if new else read_old(opened)
print(json.dumps(read))
