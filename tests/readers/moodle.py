"""Read Moodle XML with amc2moodle, in an environment of its own: ``python moodle.py FILE…``.

Gives for each file ``{id: {kind, stem, right, wrong, number}}`` of the kinds amc2moodle knows:
multiple choice and numbers. It takes the dots out of names, so ``03 q2`` is ``03.q2`` again.
"""

from __future__ import annotations

import json
import logging
import sys
import types
from typing import Any

# amc2moodle draws pictures with ImageMagick; no picture is drawn here, so it need not be there.
sys.modules["wand"] = types.ModuleType("wand")
sys.modules["wand.image"] = types.ModuleType("wand.image")
sys.modules["wand.image"].Image = None  # type: ignore[attr-defined]

from amc2moodle.moodle2amc import SUPPORTED_QUESTION_TYPE, CreateQuestion, Quiz  # noqa: E402

logging.disable(logging.CRITICAL)


def words(element: Any) -> str:
    return "".join(element.itertext()).replace(r"\%", "%")


def read(file: str) -> dict[str, Any]:
    found = {}
    for element in Quiz(file).mdl.getroot().findall("question"):
        if element.get("type") not in SUPPORTED_QUESTION_TYPE:
            continue
        question = CreateQuestion(element.get("type"), element)
        answers = question.answers()
        found[".".join(question.name.split()[:2])] = {
            "kind": question.gettype(),
            "stem": words(question.question()),
            "right": [words(a) for a in answers.findall("correctchoice")],
            "wrong": [words(a) for a in answers.findall("wrongchoice")],
            "number": answers.get("target"),
        }
    return found


print(json.dumps([read(file) for file in sys.argv[1:]]))
