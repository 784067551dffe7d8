"""Leave out answers no notebook of the course can have made; the rest of a file still counts."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course_lib.quiz.answers import LONGEST_LINE, Attempt
from course_lib.teach.grading.codes import why_not_json

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


def damage_of(folder: Path, sentences: Iterable[str]) -> list[Left]:
    """Give each kind of damage once a file: field, code, the first sentence and how many more.

    Args:
        folder: of the answers, where a line can be looked at again.
        sentences: on damage, as the store of answers gives them.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for sentence in sentences:
        name = re.split(r":| cannot| of ", sentence)[0]
        kinds = {
            "the last line": "torn-line",
            "does not follow": "broken-chain",
            "which is no lesson": "unknown-lesson",
            "is not an answer": "not-an-answer",
        }
        code = next((c for part, c in kinds.items() if part in sentence), "damaged")
        if code == "not-an-answer" and sum(map(len, found.values())) < 20:
            code, sentence = _line(folder, sentence)
        found.setdefault((f"answers/{name}", code), []).append(sentence)
    return [
        (field, code, told[0] + (f" (and {len(told) - 1:,} more)" if len(told) > 1 else ""))
        for (field, code), told in found.items()
    ]


def _line(folder: Path, sentence: str) -> tuple[str, str]:
    """Say why a line is no answer; the sentence names file and line."""
    place = re.match(r"(.+\.jsonl):(\d+) ", sentence)
    if place:
        with contextlib.suppress(OSError, IndexError):
            lines = (folder / place[1]).read_bytes().split(b"\n")
            code, why = why_not_json(lines[int(place[2]) - 1])
            if code:
                return code, f"{sentence}: {why}"
    return "not-an-answer", sentence
