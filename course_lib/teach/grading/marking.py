"""`course grade`: intake -> mark every answer with the instructor's key -> gradebook.

What a submission says of its own points is never read. A file that fails is a row among the
faults, and the next one is taken. A submission graded before is not graded again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.errors import CourseError, StorageError
from course_lib.teach.grading import intake
from course_lib.teach.grading.gradebook import Fault, Gradebook, Mark
from course_lib.teach.grading.marker import Marker

BATCH = 100  # submissions a transaction


@dataclass
class Report:
    """What a run of grading did."""

    graded: int = 0
    known: int = 0
    students: set[str] = field(default_factory=set)
    changed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)


def grade_all(
    paths: Sequence[Path],
    marker: Marker,
    book: Gradebook,
    *,
    roster: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Grade every submission below the paths into a gradebook.

    Args:
        paths: zip files, notebooks, folders, or folders of such.
        marker: keys and rules.
        book: where marks go; a hundred submissions a transaction.
        roster: names by student id; others are marked and told.
        say: told how far it is.

    Returns:
        What was done.

    Raises:
        StorageError: when the gradebook cannot be written; what was committed stays.
        UsageError: when a path does not exist.
    """
    report = Report()
    for batch in (
        itertools.batched(intake.find(paths), BATCH)
        if hasattr(itertools, "batched")
        else _batched(intake.find(paths), BATCH)
    ):
        with book.transaction():
            for path in batch:
                _one(path, marker, book, report, roster)
        say(f"{report.graded + report.known:,} submissions, {len(report.faults):,} faults")
    return report


def _batched(things: Iterable[Path], size: int) -> Iterator[tuple[Path, ...]]:
    source = iter(things)
    while batch := tuple(itertools.islice(source, size)):
        yield batch


def _one(
    path: Path, marker: Marker, book: Gradebook, report: Report, roster: Mapping[str, str] | None
) -> None:
    try:
        with intake.opened(path) as handed:
            _take(handed, marker, book, report, roster)
    except StorageError:
        raise
    except CourseError as error:
        _note(book, report, intake.fault_of(path, error))
    except (OSError, ValueError, RecursionError, MemoryError, KeyError, TypeError) as error:
        told = f"{type(error).__name__}: {error}"[:400]
        _note(book, report, Fault(path.name, "", "", "unreadable", told,
                                  "ask for the file again, made with 'course submit'"))  # fmt: skip


def _note(book: Gradebook, report: Report, fault: Fault) -> None:
    book.add_fault(fault)
    report.faults.append(fault)


def _take(
    handed: intake.Handed, marker: Marker, book: Gradebook, report: Report,
    roster: Mapping[str, str] | None,
) -> None:  # fmt: skip
    student, name = handed.student, handed.path.name
    report.students.add(student)
    if book.has(student, handed.sha256):
        report.known += 1
        return
    listed = roster is None or student in roster
    book.add_student(student, (roster or {}).get(student, ""), handed.course,
                     enrolled=roster is not None and listed)  # fmt: skip
    if not listed:
        told = ("not on the roster", "marked all the same", "add the student, or set it aside")
        _note(book, report, Fault(name, student, "student", *told))
    for sentence in handed.damage:
        _note(book, report, Fault(name, student, "answers", "damaged", sentence[:400],
                                  "what could be read is marked; ask the student"))  # fmt: skip
    late = max((marker.policy.of(q).late(handed.time) for q in handed.attempts), default=0)
    number = book.add_submission(student, name, handed.sha256, handed.time.isoformat(), late)
    flat = [a for given in handed.attempts.values() for a in given]
    numbers = book.add_answers(number, student, flat)
    place = {id(a): n for a, n in zip(flat, numbers, strict=True)}
    before = book.marks_of(student)
    for mark, answer in marker.marks(
        student, handed.attempts, handed.runs, lambda rule: rule.late(handed.time)
    ):
        _keep(mark, place.get(id(answer)) if answer else None, before, book, report, name)
    for lesson in handed.attempts:
        if lesson not in marker.keys.quizzes:
            _note(book, report, Fault(name, student, f"answers/{lesson}", "unknown quiz",
                                      "there is no key for it", "see --keys"))  # fmt: skip
    report.graded += 1


def _keep(
    mark: Mark, answer: int | None, before: Mapping[tuple[str, str], Mark], book: Gradebook,
    report: Report, name: str,
) -> None:  # fmt: skip
    """Write a mark; a later submission never takes a better mark of an earlier one away."""
    old = before.get((mark.quiz, mark.item))
    report.outcomes[mark.outcome] += 1
    if old and old.key == mark.key and old.points > mark.points:
        return
    mark = mark._replace(answer=answer)
    report.changed += book.set_mark(mark, action="grade", why=f"from {name}"[:200], before=old)
