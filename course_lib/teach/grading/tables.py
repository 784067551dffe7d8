"""The gradebook as tables: one row a mark, or one row a student. No cell is run as a formula."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from course_lib import files
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.release.roster import safe

COLUMNS = ("student", "name", "quiz", "item", "kind", "points", "out_of", "outcome")


def marks_csv(book: Gradebook) -> str:
    """Give one line for each mark."""
    names = dict(book.db.execute("SELECT student, name FROM students"))
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for m in book.marks():
        cells = (m.student, names.get(m.student) or "", m.quiz, m.item, m.kind)
        writer.writerow((*map(safe, cells), f"{m.points:g}", f"{m.out_of:g}", m.outcome))
    return target.getvalue()


def totals_csv(book: Gradebook) -> str:
    """Give one line for each student: points of each quiz, and of all."""
    quizzes = [q for (q,) in book.db.execute("SELECT DISTINCT quiz FROM marks ORDER BY quiz")]
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(("student", "name", *quizzes, "points", "out_of"))
    rows = book.db.execute(
        "SELECT s.student, s.name, m.quiz, sum(m.points), sum(m.out_of) FROM students s "
        "JOIN marks m USING(student) GROUP BY s.student, m.quiz "
        "ORDER BY s.student, m.quiz"
    )
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for student, name, quiz, points, out_of in rows:
        found.setdefault((student, name or ""), {})[quiz] = (points, out_of)
    for (student, name), per_quiz in found.items():
        cells = [f"{per_quiz[q][0]:g}" if q in per_quiz else "" for q in quizzes]
        total = [sum(v[i] for v in per_quiz.values()) for i in (0, 1)]
        writer.writerow((safe(student), safe(name), *cells, *(f"{t:g}" for t in total)))
    return target.getvalue()


def write_csv(book: Gradebook, path: Path) -> None:
    """Write the marks to ``path`` and the totals beside it, as ``NAME-totals.csv``."""
    files.write_text(path, marks_csv(book))
    files.write_text(path.with_name(f"{path.stem}-totals.csv"), totals_csv(book))
