"""What passes between the quiz rooms: plain, frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CORRECT, PARTIAL, INCORRECT = "correct", "partial", "incorrect"
UNANSWERED, NEEDS_REVIEW = "unanswered", "needs review"
RECORDED = "recorded"  # kept for a grader; nothing is told
RESET = "reset"  # the learner starts the questions again; nothing is deleted


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to choose, order or match, as the learner sees it.

    Attributes:
        id: stable whatever the order on the page, such as ``"o2"``; answers hold ids.
        text: Markdown.
    """

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Presented:
    """A question as one learner sees it: no key in it.

    Attributes:
        id, type, points: of the question.
        stem: Markdown, variables filled in.
        choices: options, items or left-hand sides, in this learner's order.
        targets: right-hand sides to match with, in this learner's order.
        unit: shown behind a numeric field.
        hints: how many there are.
        image: ``{"file": ..., "alt": ...}`` or empty.
        values: the variables drawn for this learner.
    """

    id: str
    type: str
    points: float
    stem: str
    choices: tuple[Choice, ...] = ()
    targets: tuple[Choice, ...] = ()
    unit: str = ""
    hints: int = 0
    image: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grade:
    """A verdict on one answer.

    Attributes:
        question: its id.
        outcome: ``correct``, ``partial``, ``incorrect``, ``unanswered`` or ``needs review``.
        share: of the points, 0 to 1, before hints are paid for; 0 where a person must look.
        points: of the question, so that ``share * points`` is what the answer earns.
        feedback: sentences for the learner, the most particular first.
        detail: ids of choices that are right and wrong, for the page to mark.
    """

    question: str
    outcome: str
    share: float
    points: float
    feedback: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
