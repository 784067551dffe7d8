"""`course grade`: intake -> mark every answer with the instructor's key -> gradebook.

What a submission says of its own points is never read. A file that fails is a row among the
faults, and the next one is taken. A submission graded before is not graded again. Code is run
after all else is marked, outside any transaction.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from course_lib.errors import CourseError, StorageError
from course_lib.quiz.answers import Attempt
from course_lib.teach.grading import codes, intake, shared_work, sound, waiting
from course_lib.teach.grading.gradebook import Fault, Gradebook
from course_lib.teach.grading.marker import Marker

BATCH, HELD = 100, 3.0  # submissions a transaction, and seconds another grader may have to wait
AHEAD = timedelta(minutes=10)  # an answer may be newer than its hand-in claims to be
# What is remembered of every student lies in a file of SQLite's that is gone at the end.
_SEEN = """
DROP TABLE IF EXISTS temp.taken; DROP TABLE IF EXISTS temp.replays;
CREATE TEMP TABLE taken(student TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE replays(count INTEGER, first TEXT, last TEXT, student TEXT,
  PRIMARY KEY(count, first, last)) WITHOUT ROWID;
INSERT OR IGNORE INTO replays SELECT count(*), min(time), max(time), student FROM answers
  GROUP BY submission;
"""


@dataclass
class Report:
    """What a run of grading did; ``outcomes`` and ``flags`` are those of the whole gradebook."""

    graded: int = 0
    known: int = 0
    students: int = 0
    changed: int = 0
    ran: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    flags: Counter[str] = field(default_factory=Counter)


@dataclass
class _Run:
    """A run of grading while it goes on."""

    marker: Marker
    book: Gradebook
    report: Report
    roster: Mapping[str, str] | None

    def note(self, fault: Fault) -> None:
        """Keep a fault."""
        self.book.add_fault(fault)
        self.report.faults.append(fault)

    def took(self, student: str) -> None:
        """Count a student, each once."""
        self.book.db.execute("INSERT OR IGNORE INTO temp.taken VALUES(?)", (student,))


def grade_all(
    paths: Sequence[Path], marker: Marker, book: Gradebook, *,
    roster: Mapping[str, str] | None = None, jobs: int = 1, scheduler: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Report:  # fmt: skip
    """Grade every submission below the paths into a gradebook.

    Args:
        paths: zip files, notebooks, folders, or folders of such; none to run only what waits.
        marker: keys and rules.
        book: where marks go; a hundred submissions a transaction.
        roster: names by student id; others are marked and told.
        jobs: code exercises run at a time. scheduler: of Dask, to run them elsewhere.
        say: told how far it is.

    Returns:
        What was done.

    Raises:
        StorageError: when the gradebook cannot be written; what was committed stays.
        UsageError: when a path does not exist.
    """
    run = _Run(marker, book, Report(), roster)
    report, queue = run.report, intake.find(paths)
    if marker.run_code:
        marker.defer = True
    book.db.executescript(_SEEN)
    try:
        with intake.in_memory():
            while _batch(run, queue):
                say(f"{report.graded + report.known:,} submissions, {len(report.faults):,} faults")
    finally:
        marker.defer = False
        marker.wanted.clear()
    (report.students,) = book.db.execute("SELECT count(*) FROM temp.taken").fetchone()
    report.ran = waiting.run_waiting(book, marker, jobs=jobs, scheduler=scheduler, say=say)
    with book.transaction():
        flags = shared_work.find(book, marker.keys)
        book.set_flags(flags)
    report.flags.update(kind for kind, _, _ in flags)
    report.outcomes.update(
        dict(book.db.execute("SELECT outcome, count(*) FROM marks GROUP BY outcome").fetchall())
    )
    return report


def _batch(run: _Run, queue: Iterator[tuple[Path, str]]) -> bool:
    """Take some submissions in one transaction; tell whether there were any."""
    count, until = 0, time.monotonic() + HELD
    first = next(queue, None)
    if first is None:
        return False
    with run.book.transaction():
        following: tuple[Path, str] | None = first
        while following is not None:
            _one(run, *following)
            run.marker.wanted.clear()
            count += 1
            full = count >= BATCH or time.monotonic() > until
            following = None if full else next(queue, None)
    return True


def _one(run: _Run, path: Path, name: str) -> None:
    before = len(run.report.faults)
    shown = codes.plain(name)
    try:
        with run.book.all_or_nothing():
            _take(run, path, shown)
        return
    except StorageError:
        raise
    except CourseError as error:
        fault = codes.fault_of(path, name, error)
    except Exception as error:  # a stranger's file: whatever is wrong with it, the next is taken
        told = f"{type(error).__name__}: {error}"
        fault = codes.fault(name, "unreadable", told)
    del run.report.faults[before:]
    run.book.forget_faults(shown)
    run.note(fault)


def _take(run: _Run, path: Path, name: str) -> None:
    with intake.opened(path) as handed:
        student, book, report = handed.student, run.book, run.report
        if book.has(student, handed.sha256):
            run.took(student)
            report.known += 1
            return
        book.forget_faults(name)
        listed = run.roster is None or student in run.roster
        book.add_student(student, (run.roster or {}).get(student, ""), codes.plain(handed.course),
                         enrolled=run.roster is not None and listed)  # fmt: skip
        for fault in _told(run, handed, name, listed):
            run.note(fault)
        when = _when(run.marker, handed)
        late = max((run.marker.policy.of(q).late(when) for q in handed.attempts), default=0)
        number = book.add_submission(student, name, handed.sha256, when.isoformat(), late)
        changed = _mark(run, handed, number, when, name)
        run.took(student)
        report.changed += changed
        report.graded += 1


def _when(marker: Marker, handed: intake.Handed) -> datetime:
    """When it counts as handed in, by the class's rule."""
    if marker.policy.clock == "file":
        return datetime.fromtimestamp(handed.path.stat().st_mtime, UTC)
    return handed.time


def _told(run: _Run, handed: intake.Handed, name: str, listed: bool) -> Iterator[Fault]:
    """What of a submission that is marked has to be told."""
    student, keys = handed.student, run.marker.keys
    if not listed:
        yield codes.fault(name, "unknown-student", "not on the roster; marked all the same",
                          student=student, field="student",
                          step="add the student, or set it aside")  # fmt: skip
    for where, code, message in handed.left:
        yield codes.fault(name, code, message, student=student, field=where,
                          step="what could be read is marked; ask the student")  # fmt: skip
    for lesson, given in handed.attempts.items():
        quiz = keys.quizzes.get(lesson)
        if quiz is None and given:
            yield codes.fault(name, "unknown-quiz", "there is no key for it", student=student,
                              field=f"answers/{lesson}", step="see --keys")  # fmt: skip
            continue
        others = {a.version for a in given if quiz and ".e" not in a.question} - {
            quiz.version if quiz else 0
        }
        if quiz and others:
            told = f"answers to version {min(others)}, the key is of version {quiz.version}"
            yield codes.fault(name, "wrong-version", told, student=student,
                              field=f"answers/{lesson}",
                              step="marked with this key; are the questions the same?")  # fmt: skip
    newest = sound.newest(handed.attempts)
    if newest and newest > handed.time + AHEAD:
        yield codes.fault(name, "odd-time", "answers are newer than the hand-in claims to be",
                          student=student, field="time",
                          step="see when it came; 'clock: file' goes by that")  # fmt: skip
    if other := _replay(run, handed):
        yield codes.fault(name, "replayed", f"the same answers as {other} handed in",
                          student=student, field="answers",
                          step="marked all the same; ask both students")  # fmt: skip


def _replay(run: _Run, handed: intake.Handed) -> str:
    """The other student who handed in answers of the very same times; empty for nobody."""
    times = [a.time for given in handed.attempts.values() for a in given]
    if not times:
        return ""
    place, db = (len(times), min(times), max(times)), run.book.db
    db.execute("INSERT OR IGNORE INTO temp.replays VALUES(?,?,?,?)", (*place, handed.student))
    (first,) = db.execute(
        "SELECT student FROM temp.replays WHERE count=? AND first=? AND last=?", place
    ).fetchone()
    return str(first) if first != handed.student else ""


def _mark(run: _Run, handed: intake.Handed, number: int, when: datetime, name: str) -> int:
    """Keep the answers and write a mark for each item; give how many changed."""
    flat: list[Attempt] = [a for given in handed.attempts.values() for a in given]
    numbers = run.book.add_answers(number, handed.student, flat)
    place = {id(a): n for a, n in zip(flat, numbers, strict=True)}
    before, pairs = run.book.marks_of(handed.student), []
    for mark, answer in run.marker.marks(
        handed.student, handed.attempts, handed.runs, lambda rule: rule.late(when)
    ):
        old = before.get((mark.quiz, mark.item))
        if old and (old.points > mark.points or old.outcome == "queued"):
            continue  # a better mark stays; what waits is run first, then the best counts
        pairs.append((mark._replace(answer=place.get(id(answer)) if answer else None), old))
    for item, damage in run.marker.damage.items():
        run.note(codes.fault(name, "damaged-run", f"no figure for {item}: {damage}",
                             student=handed.student, field=f"runs, for {item}",
                             step="look at the answer yourself; ask for the run"))  # fmt: skip
    return run.book.set_marks(pairs, action="grade", why=f"from {name}"[:200])
