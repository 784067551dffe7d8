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
from course_lib.quiz.records import Choice, Presented

PRACTICE = hashlib.sha256(b"practice").digest()
Thing = TypeVar("Thing")


def student_seed(secret: bytes, student: str) -> bytes:
    """Give a student's 32-byte seed; the secret stays with the instructor."""
    return hmac.new(secret, student.encode(), hashlib.sha256).digest()


def _number(seed: bytes, label: str) -> int:
    return int.from_bytes(hmac.new(seed, label.encode(), hashlib.sha256).digest()[:8], "big")


def shuffled(things: Sequence[Thing], seed: bytes, label: str) -> list[Thing]:
    """Give the things in an order that seed and label decide."""
    order = sorted(range(len(things)), key=lambda i: _number(seed, f"{label}:{i}"))
    return [things[i] for i in order]


def drawn(quiz: schema.Quiz, seed: bytes) -> tuple[schema.Question, ...]:
    """Give the questions one learner gets: all that are in no pool, and the pools' draws."""
    chosen = {q.id for q in quiz.questions if q.pool not in quiz.draw}
    for pool, count in quiz.draw.items():
        ids = [q.id for q in quiz.questions if q.pool == pool]
        chosen |= set(shuffled(ids, seed, f"{quiz.id}:{quiz.version}:{pool}")[:count])
    return tuple(q for q in quiz.questions if q.id in chosen)


def values(question: schema.Question, seed: bytes) -> dict[str, float]:
    """Give the numbers drawn for a numeric question's variables; {} for any other."""
    if not isinstance(question, schema.Numeric):
        return {}
    return {
        name: options[_number(seed, f"{question.id}:{name}") % len(options)]
        for name, options in sorted(question.variables.items())
    }


def right_number(question: schema.Numeric, seed: bytes) -> float:
    """Compute the right answer for one learner's numbers."""
    return evaluate(question.answer, values(question, seed))


def present(question: schema.Question, seed: bytes) -> Presented:
    """Give a question as one learner sees it, without its key."""
    numbers = values(question, seed)
    choices: list[Choice] = []
    targets: list[Choice] = []
    unit = ""
    if isinstance(question, schema.Single | schema.Multiple):
        choices = _choices("o", [o.text for o in question.options])
        if question.shuffle:
            choices = shuffled(choices, seed, question.id)
    elif isinstance(question, schema.Ordering):
        # ids in the shown order: the file's order is the key
        texts = _unlike(list(question.items), seed, question.id)
        choices = _choices("i", texts)
    elif isinstance(question, schema.Matching):
        choices = shuffled(_choices("l", [p.left for p in question.pairs]), seed, question.id)
        rights = [*(p.right for p in question.pairs), *question.extra]
        targets = _choices("r", shuffled(rights, seed, f"{question.id}:right"))
    elif isinstance(question, schema.Numeric | schema.Experiment):
        unit = question.unit
    return Presented(
        id=question.id,
        type=question.type,
        points=question.points,
        stem=fill(question.stem, numbers),
        choices=tuple(choices),
        targets=tuple(targets),
        unit=unit,
        hints=len(question.hints),
        image=question.image.model_dump() if question.image else {},
        values=numbers,
    )


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


def _unlike(items: list[str], seed: bytes, label: str) -> list[str]:
    """Shuffle until the order is not already the right one."""
    for attempt in range(20):
        found = shuffled(items, seed, f"{label}:{attempt}")
        if found != items:
            return found
    return items[::-1]
