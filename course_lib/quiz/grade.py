"""Grading: a question, one learner's seed and an answer give a verdict. Pure.

Answers are plain JSON: an option id (single), a list of option ids (multiple, ordering),
a map from left to right ids (matching), text or a number (numeric, text, experiment).
What cannot be read is never right or wrong without a word: it needs review.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.quiz import schema, variants
from course_lib.quiz.expressions import spellings
from course_lib.quiz.records import (
    CORRECT,
    INCORRECT,
    NEEDS_REVIEW,
    PARTIAL,
    UNANSWERED,
    Choice,
    Grade,
)

LONGEST_TEXT = 200  # characters of a short answer
_NUMBER = re.compile(
    r"([+-]?(?:\d{1,3}(?:[, ]\d{3})+|\d+)?(?:[.,]\d+)?(?:[eE][+-]?\d{1,3})?)\s*(.*)"
)


def grade(
    question: schema.Question,
    answer: Any,
    seed: bytes = variants.PRACTICE,
    *,
    truth: Any = None,
) -> Grade:
    """Grade one answer.

    Args:
        question: with its key.
        answer: what the learner gave, as JSON read it.
        seed: decides the learner's numbers and orders.
        truth: for experiment questions the figure recomputed from the learner's run, for
            code questions the exercise's outcome (``"correct"`` and so on), for artefact
            questions the figure computed from the predictions.
    """
    if answer is None or answer == "" or answer == [] or answer == {}:
        return Grade(question.id, UNANSWERED, 0.0, question.points)
    if isinstance(question, schema.Single):
        return _single(question, answer)
    if isinstance(question, schema.Multiple):
        return _multiple(question, answer)
    if isinstance(question, schema.Numeric):
        right = variants.right_number(question, seed)
        return _numeric(question, answer, right, question.units or {question.unit: 1.0})
    if isinstance(question, schema.ShortText):
        return _text(question, answer)
    if isinstance(question, schema.Ordering):
        return _ordering(question, answer, variants.choices_of(question))
    if isinstance(question, schema.Matching):
        return _matching(question, answer, variants.targets_of(question))
    if isinstance(question, schema.Experiment):
        return _experiment(question, answer, truth)
    if isinstance(question, schema.Artefact):
        return _artefact(question, truth)
    share = {"correct": 1.0, "incorrect": 0.0}.get(str(truth))
    if share is None:
        return _review(question, f"the exercise is {truth or 'not attempted'}")
    return _verdict(question, share, ())


def _verdict(
    question: schema.Question,
    share: float,
    feedback: Sequence[str],
    detail: Mapping[str, Any] | None = None,
) -> Grade:
    share = min(1.0, max(0.0, share))
    outcome = CORRECT if share > 1 - 1e-9 else PARTIAL if share > 1e-9 else INCORRECT
    return Grade(
        question.id, outcome, share, question.points, tuple(f for f in feedback if f), detail or {}
    )


def _review(question: schema.Question, why: str) -> Grade:
    return Grade(question.id, NEEDS_REVIEW, 0.0, question.points, (why,))


def _single(question: schema.Single, answer: Any) -> Grade:
    options = {f"o{i}": o for i, o in enumerate(question.options, 1)}
    if not isinstance(answer, str) or answer not in options:
        return _review(question, f"{answer!r} is none of the options {', '.join(options)}")
    chosen = options[answer]
    return _verdict(
        question,
        float(chosen.correct),
        [chosen.feedback],
        {"right": [answer] if chosen.correct else [], "wrong": [] if chosen.correct else [answer]},
    )


def _multiple(question: schema.Multiple, answer: Any) -> Grade:
    options = {f"o{i}": o for i, o in enumerate(question.options, 1)}
    if not isinstance(answer, list) or not all(isinstance(a, str) and a in options for a in answer):
        return _review(question, f"{answer!r} is not a list of options {', '.join(options)}")
    chosen, right = set(answer), {k for k, o in options.items() if o.correct}
    hit, false = len(chosen & right), len(chosen - right)
    if question.credit == "all_or_nothing":
        share = float(chosen == right)
    elif question.credit == "penalty":
        share = (hit - false) / len(right)
    else:  # decided rightly, one by one
        share = (hit + len(options) - len(right) - false) / len(options)
    told = [
        _left_out(o) if o.correct else o.feedback
        for k, o in options.items()
        if (k in chosen) != o.correct
    ]
    if share > 1 - 1e-9:
        told = [o.feedback for k, o in options.items() if k in chosen]
    detail = {"right": sorted(chosen & right), "wrong": sorted(chosen - right)}
    return _verdict(question, share, told, detail)


def _left_out(option: schema.Option) -> str:
    """Name a right option that was not chosen; its feedback is written for those who chose it."""
    told = option.feedback.strip()
    why = re.sub(r"^Right[.,:]\s+", "", told)
    why = told if why == told else f"{why[:1].upper()}{why[1:]}"
    return f"Not chosen, though it belongs: {option.text.strip()}\n\n{why}"


def read_number(text: Any, units: Mapping[str, float]) -> float | None:
    """Read a number with an optional unit; None when it is not one.

    ``"1,234.5"``, ``"0,75"``, ``"3/4"``, ``"75 %"`` and ``"1e-3"`` are read. A comma before
    exactly three closing digits separates thousands.

    Args:
        text: what the learner typed, or a JSON number.
        units: each accepted unit and its factor to the unit of the right answer.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    if not isinstance(text, str):
        return float(text) if math.isfinite(text) else None
    plain = unicodedata.normalize("NFKC", text).strip().replace("\u2212", "-")
    if len(plain) > 60:
        return None
    if fraction := re.fullmatch(r"([+-]?\d{1,9})\s*/\s*(\d{1,9})", plain):
        below = int(fraction.group(2))
        return int(fraction.group(1)) / below if below else None
    match = _NUMBER.fullmatch(plain)
    if not match or not re.search(r"\d", match.group(1)):
        return None
    digits, unit = match.group(1).replace(" ", ""), match.group(2).strip()
    if "," in digits and "." not in digits and not re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", digits):
        digits = digits.replace(",", ".")
    known = {k.casefold(): factor for k, factor in {**units, "": units.get("", 1.0)}.items()}
    if unit.casefold() not in known:
        return None
    value = float(digits.replace(",", "")) * known[unit.casefold()]
    return value if math.isfinite(value) else None


def _close(value: float, right: float, tolerance: schema.Tolerance) -> bool:
    room = max(tolerance.absolute, tolerance.relative * abs(right), 1e-9 * max(1.0, abs(right)))
    return abs(value - right) <= room


def _numeric(
    question: schema.Numeric | schema.Experiment,
    answer: Any,
    right: float,
    units: Mapping[str, float],
) -> Grade:
    value = read_number(answer, units)
    if value is None:
        return _review(question, f"{answer!r} is not a number this question can read")
    if _close(value, right, question.tolerance):
        return _verdict(question, 1.0, ())
    told = []
    for factor, name in ((100.0, "100 times too small: a share, where a percentage is asked for?"),
                         (0.01, "100 times too large: a percentage, where a share is asked for?"),
                         (-1.0, "right but for the sign")):  # fmt: skip
        if right and _close(value * factor, right, question.tolerance):
            told.append(f"Your number is {name}".rstrip("."))
    return _verdict(question, 0.0, told)


def plain_text(text: str) -> str:
    """Bring a short answer to the form in which it is compared; linear in its length."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    joined = " ".join(words).strip(" .,;:!?\"'`()")
    first, _, rest = joined.partition(" ")
    return rest if rest and first in ("a", "an", "the") else joined


def _text(question: schema.ShortText, answer: Any) -> Grade:
    if not isinstance(answer, str):
        return _review(question, f"{answer!r} is not text")
    if len(answer) > LONGEST_TEXT:
        return _review(question, f"the answer is longer than {LONGEST_TEXT} characters")
    given = plain_text(answer)
    if not given:
        return Grade(question.id, UNANSWERED, 0.0, question.points)
    if given in {plain_text(s) for a in question.accept for s in spellings(a)}:
        return _verdict(question, 1.0, ())
    return _verdict(
        question,
        0.0,
        [n.feedback for n in question.near if given in map(plain_text, spellings(n.text))],
    )


def _ordering(question: schema.Ordering, answer: Any, shown: Sequence[Choice]) -> Grade:
    texts = {c.id: c.text for c in shown}
    if not isinstance(answer, list) or sorted(map(str, answer)) != sorted(texts):
        return _review(question, f"{answer!r} does not name each item once")
    place = {texts[key]: i for i, key in enumerate(answer)}
    items = question.items
    kept = sum(place[a] < place[b] for a, b in itertools.pairwise(items))
    share = kept / (len(items) - 1)
    if question.credit == "all_or_nothing":
        share = float(kept == len(items) - 1)
    right = [key for i, key in enumerate(answer) if texts[key] == items[i]]
    return _verdict(
        question, share, (), {"right": right, "wrong": [k for k in answer if k not in right]}
    )


def _matching(question: schema.Matching, answer: Any, shown: Sequence[Choice]) -> Grade:
    texts = {c.id: c.text for c in shown}
    lefts = {f"l{i}": p for i, p in enumerate(question.pairs, 1)}
    if not isinstance(answer, dict) or not all(
        k in lefts and isinstance(v, str) and v in texts for k, v in answer.items()
    ):
        return _review(question, f"{answer!r} does not match the left-hand sides to the right")
    right = [k for k, p in lefts.items() if k in answer and texts[answer[k]] == p.right]
    share = len(right) / len(lefts)
    if question.credit == "all_or_nothing":
        share = float(len(right) == len(lefts))
    wrong = [k for k in answer if k not in right]
    return _verdict(
        question, share, [lefts[k].feedback for k in wrong], {"right": right, "wrong": wrong}
    )


def _experiment(question: schema.Experiment, answer: Any, truth: Any) -> Grade:
    if truth is None:
        return _review(question, f"no run {question.run!r} to compare with was found")
    if isinstance(truth, bool) or not isinstance(truth, int | float):
        same = isinstance(answer, str) and plain_text(answer) == plain_text(str(truth))
        return _verdict(question, float(same), ())
    return _numeric(question, answer, float(truth), {question.unit: 1.0, "": 1.0})


def _artefact(question: schema.Artefact, truth: Any) -> Grade:
    if isinstance(truth, bool) or not isinstance(truth, int | float) or not math.isfinite(truth):
        return _review(question, f"no predictions {question.run!r} that can be measured")
    reached = [b.share for b in question.bands if truth >= b.at_least - 1e-9]
    told = f"{question.metric} {truth:.3f}"
    return _verdict(question, max(reached, default=0.0), (told,))
