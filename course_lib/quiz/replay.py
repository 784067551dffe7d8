"""Play a lesson's attempts through in order: what counts now, and what was tried before."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from course_lib.quiz.answers import Attempt
from course_lib.quiz.records import RESET

_RESET = f".{RESET}"


class Replay:
    """Where a learner stands after a list of attempts.

    Nothing in an attempt is trusted: what is of the wrong kind counts as not there.

    Args:
        questions: ids of the learner's questions; other ids are exercises.

    Attributes:
        latest: the newest answer of each question since its last fresh start.
        tries: how many there were since then. hints: how many hints were open.
        every: all answers of each question, fresh starts or not, in order.
        exercises: the outcome told at the newest attempt of each exercise.
        sources: that attempt.
    """

    def __init__(self, questions: Collection[str]) -> None:
        self.questions = frozenset(questions)
        self.latest: dict[str, Attempt] = {}
        self.tries, self.hints = dict[str, int](), dict[str, int]()
        self.every: dict[str, list[Attempt]] = {}
        self.exercises = dict[str, str]()
        self.sources: dict[str, Attempt] = {}

    def take(self, one: Attempt) -> None:
        """Take one more attempt into account."""
        if one.outcome == RESET or one.question.endswith(_RESET):
            named: Any = one.value if isinstance(one.value, list) else self.questions
            for question in (q for q in named if isinstance(q, str)):
                for known in (self.latest, self.tries, self.hints):
                    known.pop(question, None)
        elif one.question in self.questions:
            opened = max(0, one.hints) if isinstance(one.hints, int) else 0
            self.latest[one.question] = one
            self.tries[one.question] = self.tries.get(one.question, 0) + 1
            self.hints[one.question] = max(self.hints.get(one.question, 0), opened)
            self.every.setdefault(one.question, []).append(one)
        else:
            self.exercises[one.question] = one.outcome
            self.sources[one.question] = one
