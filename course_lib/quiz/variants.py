"""What differs from learner to learner: order of options, drawn questions, numbers.

Everything follows from a seed by HMAC-SHA256, so it is the same on every machine and
every Python. The seed of a class is ``HMAC(course secret, student id)``; without a
class it is that of the word "practice".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import TypeVar

from course_lib.quiz import schema
from course_lib.quiz.expressions import evaluate
from course_lib.quiz.paper import Paper, Sheet, sheet_of
from course_lib.quiz.records import Choice, Presented

PRACTICE = hashlib.sha256(b"practice").digest()
Thing = TypeVar("Thing")
Asked = schema.Question | Sheet


def student_seed(secret: bytes, student: str) -> bytes:
    """Give a student's 32-byte seed; the secret stays with the instructor."""
    return hmac.new(secret, student.encode(), hashlib.sha256).digest()


def _number(seed: bytes, label: str) -> int:
    return int.from_bytes(hmac.new(seed, label.encode(), hashlib.sha256).digest()[:8], "big")


def shuffled(things: Sequence[Thing], seed: bytes, label: str) -> list[Thing]:
    """Give the things in an order that seed and label decide."""
    order = sorted(range(len(things)), key=lambda i: _number(seed, f"{label}:{i}"))
    return [things[i] for i in order]


def drawn(quiz: schema.Quiz | Paper, seed: bytes) -> tuple[Asked, ...]:
    """Give the questions one learner gets: all that are in no pool, and the pools' draws."""
    chosen = {q.id for q in quiz.questions if q.pool not in quiz.draw}
    for pool, count in quiz.draw.items():
        ids = [q.id for q in quiz.questions if q.pool == pool]
        chosen |= set(shuffled(ids, seed, f"{quiz.id}:{quiz.version}:{pool}")[:count])
    return tuple(q for q in quiz.questions if q.id in chosen)


def values(question: Asked, seed: bytes) -> dict[str, float]:
    """Give the numbers drawn for a numeric question's variables; {} for any other."""
    if not isinstance(question, schema.Numeric | Sheet):
        return {}
    return {
        name: options[_number(seed, f"{question.id}:{name}") % len(options)]
        for name, options in sorted(question.variables.items())
    }


def right_number(question: schema.Numeric, seed: bytes) -> float:
    """Compute the right answer for one learner's numbers."""
    return evaluate(question.answer, values(question, seed))


def present(question: Asked, seed: bytes) -> Presented:
    """Give a question as one learner sees it, made from its sheet: no key goes in.

    Ids do not depend on the order shown. A practice question never shows items in the
    order asked for.
    """
    sheet = question if isinstance(question, Sheet) else sheet_of(question)
    numbers = values(sheet, seed)
    choices, label = _choices("o", sheet.options), sheet.id
    if sheet.items:
        choices = _choices("i", sheet.items)
        if isinstance(question, schema.Ordering):
            label = _unlike(question, choices, seed)
    elif sheet.lefts:
        choices = _choices("l", sheet.lefts)
    if sheet.shuffle:
        choices = shuffled(choices, seed, label)
    return Presented(
        id=sheet.id,
        type=sheet.type,
        points=sheet.points,
        stem=fill(sheet.stem, numbers),
        choices=tuple(choices),
        targets=tuple(shuffled(_choices("r", sheet.rights), seed, f"{sheet.id}:right")),
        unit=sheet.unit,
        hints=sheet.hints,
        image=sheet.image.model_dump() if sheet.image else {},
        values=numbers,
    )


def choices_of(question: Asked) -> list[Choice]:
    """Give the items of an ordering question with their ids, in the order of the sheet."""
    sheet = question if isinstance(question, Sheet) else sheet_of(question)
    return _choices("i", sheet.items)


def targets_of(question: Asked) -> list[Choice]:
    """Give the right-hand sides of a matching question with their ids."""
    sheet = question if isinstance(question, Sheet) else sheet_of(question)
    return _choices("r", sheet.rights)


def fill(text: str, numbers: dict[str, float]) -> str:
    """Put drawn numbers into ``{name}``; other braces, as in LaTeX, stay."""

    def put(match: re.Match[str]) -> str:
        value = numbers.get(match.group(1))
        if value is None:
            return match.group(0)
        return str(int(value)) if float(value).is_integer() else f"{value:g}"

    return re.sub(r"(?<!\{)\{(\w+)\}(?!\})", put, text)


def _choices(letter: str, texts: Sequence[str]) -> list[Choice]:
    return [Choice(f"{letter}{i}", text) for i, text in enumerate(texts, 1)]


def _unlike(question: schema.Ordering, choices: list[Choice], seed: bytes) -> str:
    """Give a label under which the items are not already in the right order."""
    tried = (f"{question.id}:{attempt}" for attempt in range(1, 100))
    right = list(question.items)
    return next(n for n in tried if [c.text for c in shuffled(choices, seed, n)] != right)
