"""Run the code exercises that wait, side by side, and mark them.

Each distinct source is run once. The gradebook is not held while code runs; the marks of a block
of students are written together, so that a run that is killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from course_lib.quiz.exercise import Exercise
from course_lib.teach.building import workers
from course_lib.teach.grading import execute, replaying, sandbox
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.grading.marker import REMEMBERED, Marker

BLOCK = 50  # students
RETRIES = 2  # of code whose worker died
Wanted = Mapping[tuple[str, str], tuple[str, str]]


def run_waiting(
    book: Gradebook, marker: Marker, *, jobs: int = 1, scheduler: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> int:  # fmt: skip
    """Run and mark all that is queued in a gradebook.

    Args:
        book: the gradebook. marker: keys and rules.
        jobs: how many run at a time on this machine.
        scheduler: address of a Dask scheduler whose workers run them instead.
        say: told how far it is.

    Returns:
        How many marks got their verdict.

    Raises:
        UsageError: when no scheduler answers. StorageError: when the gradebook cannot be written.
    """
    students = [s for (s,) in book.db.execute(
        "SELECT DISTINCT student FROM marks WHERE outcome='queued' ORDER BY student"
    )]  # fmt: skip
    if not students or not marker.run_code or (sandbox.available() and not scheduler):
        return 0
    done = 0
    with _runner(jobs, scheduler) as run:
        for start in range(0, len(students), BLOCK):
            block = students[start : start + BLOCK]
            if len(marker.verdicts) > REMEMBERED:
                marker.verdicts.clear()
            wanted = _wanted(book, marker, block)
            tasks = [(marker.keys.exercises[name], source) for name, source in wanted.values()]
            for key, verdict in zip(wanted, run(tasks), strict=True):
                marker.learn(key, verdict)
            with book.transaction():
                done += sum(_settle(book, marker, student) for student in block)
            say(f"code of {start + len(block):,} of {len(students):,} students")
    return done


def _places(book: Gradebook, student: str) -> set[tuple[str, str]]:
    rows = book.marks("WHERE student=? AND outcome='queued'", (student,))
    return {(m.quiz, m.item) for m in rows}


def _wanted(book: Gradebook, marker: Marker, students: Sequence[str]) -> dict[Any, tuple[str, str]]:
    """Exercise and source of all that waits, each distinct one once."""
    marker.wanted.clear()
    marker.defer = True
    try:
        for student in students:
            places = _places(book, student)
            replaying.best(
                replaying.replayed(book.db, marker, student, {q for q, _ in places}), places
            )
    finally:
        marker.defer = False
    found = dict(marker.wanted)
    marker.wanted.clear()
    return found


def _settle(book: Gradebook, marker: Marker, student: str) -> int:
    """Write the marks of a student's code that was run."""
    places, done = _places(book, student), 0
    marker.defer = True
    try:
        found = replaying.best(
            replaying.replayed(book.db, marker, student, {q for q, _ in places}), places
        )
    finally:
        marker.defer = False
        marker.wanted.clear()
    before = book.marks_of(student)
    for place, mark in found.items():
        if mark.outcome != "queued":
            why = "the code was run"
            book.set_mark(mark, action="grade", why=why, before=before[place])
            done += 1
    return done


class _runner:
    """Runs lists of tasks and gives their verdicts in order: threads here, or Dask elsewhere."""

    def __init__(self, jobs: int, scheduler: str) -> None:
        self.jobs, self.scheduler = max(1, jobs), scheduler
        self.pool: Any = None

    def __enter__(self) -> Callable[[Sequence[tuple[Exercise, str]]], Iterator[execute.Verdict]]:
        if self.scheduler:
            self.pool = workers.client(self.scheduler, self.jobs)
            client = self.pool.__enter__()
            return lambda tasks: _on_dask(client, tasks)
        self.pool = ThreadPoolExecutor(self.jobs)  # the sandbox is a process of its own
        run = self.pool.__enter__().map
        return lambda tasks: run(one, tasks)

    def __exit__(self, *problem: Any) -> None:
        self.pool.__exit__(*problem)


def one(task: tuple[Exercise, str]) -> execute.Verdict:
    """Mark one source; whatever is wrong with it is a verdict."""
    exercise, source = task
    try:
        return execute.mark_exercise(exercise, source)
    except Exception as error:  # such as a reference solution that fails
        told = f"a person must look: {type(error).__name__}: {error}"
        return execute.Verdict("needs_review", 0.0, told[:400])


def _on_dask(client: Any, tasks: Sequence[tuple[Exercise, str]]) -> Iterator[execute.Verdict]:
    """Run tasks on Dask; a task whose worker died is run again by another."""
    futures = client.map(one, tasks, pure=False, retries=RETRIES)
    for future in futures:
        error = future.exception()
        if error is None:
            yield future.result()
        else:  # the worker died again and again, or lacks the course: it waits on
            yield execute.Verdict("queued", 0.0, f"not run: {error}"[:400])


def waiting(book: Gradebook) -> int:
    """Count the marks that wait."""
    (count,) = book.db.execute("SELECT count(*) FROM marks WHERE outcome='queued'").fetchone()
    return int(count)
