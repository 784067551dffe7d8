"""The rules of a class: which attempt counts, what lateness and hints cost."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from course_lib import files
from course_lib.errors import DataError

DAY = 86_400


class Rule(BaseModel):
    """The rules of one quiz.

    Attributes:
        attempts: ``last`` (what the student left standing), ``best`` or ``first``.
        deadline: ISO 8601 with a time zone; none when None.
        grace: seconds after the deadline that cost nothing.
        per_day: share of the points taken off for each day begun, up to ``most``.
        closes_after: days after which nothing is taken any more; None: never.
        hints: whether opened hints cost what the question says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    attempts: Literal["last", "best", "first"] = "last"
    deadline: datetime | None = None
    grace: int = Field(default=0, ge=0)
    per_day: float = Field(default=0.0, ge=0, le=1)
    most: float = Field(default=1.0, ge=0, le=1)
    closes_after: float | None = Field(default=None, ge=0)
    hints: bool = True

    def late(self, handed_in: datetime) -> int:
        """Give by how many seconds something is late; 0 where it is not."""
        if self.deadline is None:
            return 0
        over = (handed_in - self.deadline).total_seconds()
        return math.ceil(over) if over > self.grace else 0

    def keeps(self, late: int) -> float:
        """Give the share of the points that is kept, ``late`` seconds after the deadline."""
        if not late:
            return 1.0
        if self.closes_after is not None and late > self.closes_after * DAY:
            return 0.0
        return 1.0 - min(self.most, self.per_day * math.ceil(late / DAY))


class Policy(Rule):
    """The rules of a class; ``quizzes`` gives single quizzes rules of their own.

    ``clock`` says when something was handed in: ``said``, the time the student's computer wrote
    into it, or ``file``, the time stamp of the file as it was collected, which no student sets.
    """

    clock: Literal["said", "file"] = "said"
    quizzes: dict[str, Rule] = {}

    def of(self, quiz: str) -> Rule:
        """Give the rules of one quiz."""
        return self.quizzes.get(quiz, self)


def read_policy(path: Path | None) -> Policy:
    """Read a policy file (YAML); the defaults when None.

    Raises:
        DataError: for an unknown field, a value out of range, or a deadline without a zone.
    """
    if path is None:
        return Policy()
    content = files.read_yaml(path)
    try:
        found = Policy.model_validate(content or {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError("the policy cannot be read", where=f"{path}, {place}", got=first["msg"],
                        expected="attempts, deadline, grace, per_day, most, closes_after, hints, "
                        "clock, quizzes") from None  # fmt: skip
    for name, rule in {"": found, **found.quizzes}.items():
        if rule.deadline and rule.deadline.tzinfo is None:
            raise DataError("a deadline needs a time zone", where=f"{path}, {name or 'deadline'}",
                            got=str(rule.deadline), expected="2026-12-01T18:00+01:00")  # fmt: skip
    return found
