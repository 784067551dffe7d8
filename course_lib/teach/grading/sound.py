"""Leave out answers no notebook of the course can have made; the rest of a file still counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from course_lib.quiz.answers import LONGEST_LINE, Attempt

DEEPEST, MOST_PARTS = 20, 5000
LARGEST = 2**53  # of a whole number; the largest every JSON reader keeps exactly
LONGEST_ID = 40  # characters of a question's id
Left = tuple[str, str, str]  # field, code, message


def sound(
    attempts: Mapping[str, Sequence[Attempt]],
) -> tuple[dict[str, tuple[Attempt, ...]], list[Left]]:
    """Give the attempts that can be kept, and for each kind of others field, code and message."""
    kept: dict[str, tuple[Attempt, ...]] = {}
    left: dict[tuple[str, str], list[Attempt]] = {}
    for lesson, given in attempts.items():
        good = []
        for one in given:
            if why := fault_in(one):
                left.setdefault((lesson, why), []).append(one)
            else:
                good.append(one if one.quiz == lesson else dataclasses.replace(one, quiz=lesson))
        kept[lesson] = tuple(good)
    told = [
        (f"answers/{lesson}", why, f"{_count(len(ones))} left out, the first of {first[:60]!r}")
        for (lesson, why), ones in left.items()
        for first in [ones[0].question]
    ]
    return kept, told


def _count(answers: int) -> str:
    return "an answer is" if answers == 1 else f"{answers:,} answers are"


def fault_in(one: Attempt) -> str:
    """Give the code of what is wrong with an attempt; empty where nothing is."""
    if len(one.question) > LONGEST_ID or len(one.outcome) > LONGEST_ID:
        return "bad-field"
    for number in (one.version, one.attempt, one.hints, one.number):
        if type(number) is not int or not 0 <= number <= LARGEST:
            return "bad-field"
    if type(one.value) is str:
        return "too-large" if len(one.value) > LONGEST_LINE else ""
    return _odd(one.value)


def _odd(value: Any) -> str:
    """The code of what is odd about a JSON value, found without recursion."""
    level, parts, letters = [value], 0, 0
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            parts += 1
            if isinstance(one, str):
                letters += len(one)
            elif isinstance(one, dict):
                letters += sum(map(len, one))
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
            elif isinstance(one, float):
                if not math.isfinite(one):
                    return "not-finite"
            elif isinstance(one, int) and abs(one) > LARGEST:
                return "huge-number"
        if letters > LONGEST_LINE or parts + len(below) > MOST_PARTS:
            return "too-large"
        if not below:
            return ""
        level = below
    return "deep-nesting"


def newest(attempts: Mapping[str, Sequence[Attempt]]) -> datetime | None:
    """Give the time of the newest answer, UTC where no zone is named."""
    times = [given[-1].time for given in attempts.values() if given]
    found = max(map(datetime.fromisoformat, times), key=_zoned, default=None)
    return _zoned(found) if found else None


def _zoned(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
