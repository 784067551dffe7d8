"""Mark what a student handed in before once more, from the answers the gradebook keeps."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime

from course_lib.quiz.answers import Attempt
from course_lib.teach.grading.gradebook import Mark
from course_lib.teach.grading.marker import Marker
from course_lib.teach.grading.policy import Rule


def replayed(
    db: sqlite3.Connection, marker: Marker, student: str, quizzes: Collection[str]
) -> Iterator[Mark]:
    """Yield the marks of each kept submission of a student, the oldest first.

    Args:
        db: of the gradebook. marker: keys and rules. student: whose.
        quizzes: which quizzes.
    """
    for number, handed_in in db.execute(
        "SELECT id, handed_in FROM submissions WHERE student=? ORDER BY id", (student,)
    ).fetchall():
        rows = db.execute(
            "SELECT id, quiz, question, version, attempt, value, time, hints, outcome FROM answers "
            "WHERE submission=? ORDER BY id", (number,),
        ).fetchall()  # fmt: skip
        attempts: dict[str, list[Attempt]] = {}
        numbers: dict[int, int] = {}
        for row, quiz, question, version, attempt, value, *rest in rows:
            if quiz in quizzes:
                one = Attempt(quiz, question, version, attempt, json.loads(value), *rest)
                numbers[id(one)] = row
                attempts.setdefault(quiz, []).append(one)
        late = functools.partial(_late, datetime.fromisoformat(handed_in))
        for mark, answer in marker.marks(student, attempts, None, late):
            yield mark._replace(answer=numbers.get(id(answer)) if answer else None)


def _late(handed_in: datetime, rule: Rule) -> int:
    return rule.late(handed_in)


def best(marks: Iterator[Mark], places: Collection[tuple[str, str]]) -> dict[tuple[str, str], Mark]:
    """Give the best mark for each of the places (quiz and item), of several submissions."""
    found: dict[tuple[str, str], Mark] = {}
    for mark in marks:
        place = mark.quiz, mark.item
        old = found.get(place)
        if place in places and (old is None or _rank(mark) > _rank(old)):
            found[place] = mark
    return found


def _rank(mark: Mark) -> tuple[float, bool]:
    """Points first; what still waits comes before what earned nothing."""
    return mark.points, mark.outcome == "queued"
