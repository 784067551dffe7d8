"""What a run of grading did, as lines of text or one HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

from course_lib import files
from course_lib.teach.grading.codes import plain
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.grading.report import STYLE, table

MOST = 500  # rows of a table
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def tables(book: Gradebook) -> list[Table]:
    """Give the tables of a summary: title, heads (# for numbers) and rows."""
    quizzes = [
        (quiz, f"{students:,}", f"{100 * (earned or 0):.0f}%", f"{waits:,}", f"{review:,}")
        for quiz, students, earned, waits, review in book.db.execute(
            "SELECT quiz, count(DISTINCT student), sum(points) / sum(out_of), "
            "sum(outcome='queued'), sum(outcome='needs_review') FROM marks GROUP BY quiz"
        )
    ]
    outcomes = [(str(o), f"{n:,}") for o, n in book.db.execute(
        "SELECT outcome, count(*) FROM marks GROUP BY outcome ORDER BY 2 DESC"
    )]  # fmt: skip
    faults = [(f.file, f.student, f.field, f.code, f.message, f.next_step) for f in book.faults()]
    return [
        ("Quizzes", ("quiz", "#students", "#points earned", "#waiting", "#to be looked at"),
         quizzes),
        ("Marks", ("outcome", "#marks"), outcomes),
        ("Faults", ("file", "student", "field", "code", "what", "what to do"), faults),
        ("Shared work, to be asked about; no mark was changed", ("kind", "students", "evidence"),
         flags(book)),
    ]  # fmt: skip


def flags(book: Gradebook) -> list[tuple[str, ...]]:
    """Give the flags: kind, students, evidence in words."""
    found: list[tuple[str, ...]] = []
    for kind, students, evidence in book.db.execute("SELECT kind, students, evidence FROM flags"):
        told = ", ".join(f"{k} {v:.2g}" if isinstance(v, float) else f"{k} {str(v)[:24]}"
                         for k, v in json.loads(evidence).items())  # fmt: skip
        names = json.loads(students)
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        found.append((str(kind), ", ".join(names[:10]) + more, told))
    return found


def text(book: Gradebook) -> str:
    """Give the summary as text."""
    lines = []
    for title, head, rows in tables(book):
        lines += [title, "  " + " | ".join(h.lstrip("#") for h in head)]
        lines += ["  " + " | ".join(map(plain, row)) for row in rows[:MOST]]
        lines += [f"  and {len(rows) - MOST:,} more"] if len(rows) > MOST else []
        lines.append("")
    return "\n".join(lines)


def page(book: Gradebook) -> str:
    """Give the summary as one HTML page; every text in it is escaped."""
    parts = ["<h1>What was marked</h1>"]
    for title, head, rows in tables(book):
        more = f"<p>and {len(rows) - MOST:,} more</p>" if len(rows) > MOST else ""
        shown = [tuple(map(plain, row)) for row in rows[:MOST]]
        parts.append(f"<h2>{html.escape(title)}</h2>{table(head, shown)}{more}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>What was marked</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def write(book: Gradebook, path: Path) -> None:
    """Write the summary: a page where the name ends in .html, else text."""
    shown = page(book) if path.suffix.lower() in (".html", ".htm") else text(book)
    files.write_text(path, shown)
