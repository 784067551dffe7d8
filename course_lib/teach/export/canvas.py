"""Marks as the CSV file that Canvas imports into its gradebook; no cell is run as a formula.

Source: Canvas's instructor guide on importing grades: Student, ID, SIS User ID, SIS Login ID and
Section come first, then a column for each assignment; the line below holds the points possible.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from course_lib.errors import UsageError
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.release.roster import safe

COLUMNS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
WAYS = ("sis-login", "sis-user", "id")  # which of Canvas's columns holds the course's student id
_TOTALS = (
    "SELECT student, quiz, sum(points), sum(out_of) FROM marks WHERE outcome != 'void' "
    "GROUP BY student, quiz"
)


def grades(path: Path, *, student_is: str = "sis-login") -> tuple[str, int]:
    """Give the file's text, and how many students it holds.

    Args:
        path: of the gradebook. student_is: one of :data:`WAYS`.

    Raises:
        UsageError: when there is no gradebook, or no mark in it.
        DataError: when the file is no gradebook.
    """
    if not path.is_file():
        raise UsageError("there is no gradebook", where=str(path),
                         next_step="name it with --gradebook FILE")  # fmt: skip
    with Gradebook(path) as book:
        names = {s: (n or "", c or "") for s, n, c in
                 book.db.execute("SELECT student, name, course FROM students")}  # fmt: skip
        totals = list(book.db.execute(_TOTALS))
    if not totals:
        raise UsageError("the gradebook holds no marks", where=str(path),
                         next_step="run 'course grade' first")  # fmt: skip
    possible: dict[str, float] = {}
    earned: dict[tuple[str, str], float] = {}
    for student, quiz, points, out_of in totals:
        possible[quiz] = max(possible.get(quiz, 0.0), out_of)
        earned[student, quiz] = points
    return _table(names, possible, earned, student_is), len(names | {s: None for s, _ in earned})


def _table(
    names: dict[str, tuple[str, str]],
    possible: dict[str, float],
    earned: dict[tuple[str, str], float],
    student_is: str,
) -> str:
    quizzes = sorted(possible)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow((*COLUMNS, *(f"Quiz {q}" for q in quizzes)))
    writer.writerow(("    Points Possible", "", "", "", "", *(f"{possible[q]:g}" for q in quizzes)))
    place = {"id": 0, "sis-user": 1, "sis-login": 2}[student_is]
    for student in sorted(names.keys() | {s for s, _ in earned}):
        name, section = names.get(student, ("", ""))
        ids = ["", "", ""]
        ids[place] = safe(student)
        marks = [f"{earned[student, q]:.10g}" if (student, q) in earned else "" for q in quizzes]
        writer.writerow((safe(name or student), *ids, safe(section), *marks))
    return target.getvalue()
