"""Take in what was handed in: zip files, folders, notebooks; trust nothing, stop at nothing.

A file that cannot be read gives one fault; the next one is read. What can be read is given as
attempts by lesson, with the folder of runs that came along.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from course_lib import files
from course_lib.errors import CourseError, DataError, UsageError
from course_lib.quiz import handed_in, identity, notebook
from course_lib.quiz.answers import Attempt, Store
from course_lib.teach.grading.gradebook import Fault

MOST_ANSWERS = 200_000  # attempts of one student
LARGEST_NOTEBOOK = 50 * 10**6  # bytes
LESSONS = [f"{n:02}" for n in range(100)] + ["assessment"]


@dataclass(frozen=True, slots=True)
class Handed:
    """What one student handed in.

    Attributes:
        path: the file or folder. sha256: of its content.
        student, course: as it says; not proved. time: when, UTC.
        attempts: by lesson, in order of time. runs: folder of runs, or None.
        damage: sentences on what was torn or left out.
    """

    path: Path
    sha256: str
    student: str
    course: str
    time: datetime
    attempts: Mapping[str, tuple[Attempt, ...]]
    runs: Path | None
    damage: tuple[str, ...] = ()


def find(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield every submission below the paths: zip files, notebooks, folders with ``answers/``.

    Links are not followed out of the folder named; fifos, sockets and devices are given as they
    are, to be told.

    Raises:
        UsageError: when a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise UsageError("there is no such file or folder", where=str(path))
        if not path.is_dir() or (path / "answers").is_dir() or any(path.glob("*.ipynb")):
            yield path
        else:
            for inside in sorted(path.iterdir()):
                if inside.name.startswith(".") or ".sqlite" in inside.name:
                    continue  # a gradebook kept beside what it grades
                if inside.is_dir() and not inside.is_symlink():
                    yield from find([inside])
                else:
                    yield inside


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Handed]:
    """Read one submission; what it unpacks is gone at the end.

    Raises:
        DataError: when it cannot be read; the message says why.
    """
    kind = os.lstat(path).st_mode
    if stat.S_ISDIR(kind):
        yield _folder(path)
    elif not stat.S_ISREG(kind):
        raise DataError("this is no ordinary file", where=str(path),
                        got="a link" if stat.S_ISLNK(kind) else "a pipe, socket or device",
                        expected="a zip file, a notebook or a folder")  # fmt: skip
    elif path.suffix == ".ipynb":
        yield _notebook(path)
    else:
        with handed_in.opened(path, predictions=True) as (found, folder):
            attempts = handed_in.attempts_in(path, folder, found.lessons)
            _limit(path, attempts)
            time = datetime.fromisoformat(found.time)
            yield Handed(
                path, files.sha256_file(path), found.student, found.course,
                time if time.tzinfo else time.replace(tzinfo=UTC), attempts,
                folder / "runs" if found.runs else None, found.damage,
            )  # fmt: skip


def _limit(path: Path, attempts: Mapping[str, Sequence[Attempt]]) -> None:
    count = sum(map(len, attempts.values()))
    if count > MOST_ANSWERS:
        raise DataError("too many answers", where=str(path), got=f"{count:,}",
                        expected=f"at most {MOST_ANSWERS:,}")  # fmt: skip


def _folder(path: Path) -> Handed:
    """A working folder: its enrolment says who, else the folder's name."""
    for inside in path.rglob("*"):
        if inside.is_symlink():
            raise DataError("the folder holds a link", where=str(inside),
                            next_step="ask for a zip file made with 'course submit'")  # fmt: skip
    enrolled = path / identity.ENROLMENT
    student, course = path.name, ""
    if enrolled.is_file():
        try:
            who = identity.read_enrolment(enrolled)
        except CourseError as error:
            raise DataError("the enrolment cannot be read", where=str(enrolled),
                            got=str(error)[:200]) from None  # fmt: skip
        student, course = who.student, who.course
    identity.check_student(student, str(path))
    receipts = [r for _, found in notebook.with_receipts(path) for r in found]
    damage: list[str] = []
    attempts: dict[str, tuple[Attempt, ...]] = {}
    for lesson in LESSONS:
        inside_book = [a for r in receipts if r["lesson"] == lesson for a in r["attempts"]]
        if inside_book or any((path / "answers").glob(f"{lesson}.*.jsonl")):
            loaded = Store(path / "answers", lesson).load(inside_book)
            attempts[lesson] = loaded.attempts
            damage += loaded.damage
    _limit(path, attempts)
    runs = path / "runs"
    found = [p for p in path.rglob("*") if p.is_file() and "runs" not in p.parts]
    newest = max((p.stat().st_mtime for p in found), default=0.0)
    return Handed(
        path, _content(attempts), student, course, datetime.fromtimestamp(newest, UTC), attempts,
        runs if runs.is_dir() else None, tuple(damage),
    )  # fmt: skip


def _notebook(path: Path) -> Handed:
    """A single notebook: its receipts hold the answers, its name begins with the student's id."""
    if path.stat().st_size > LARGEST_NOTEBOOK:
        raise DataError("the notebook is too large", where=str(path),
                        expected=f"at most {LARGEST_NOTEBOOK:,} bytes")  # fmt: skip
    content = files.read_json(path, max_bytes=LARGEST_NOTEBOOK)
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise DataError("this is no notebook", where=str(path), expected="a map with cells")
    student = path.stem.split("__")[0]
    identity.check_student(student, str(path))
    attempts = {
        lesson: Store(path.parent / ".none", lesson).load(found).attempts
        for lesson in LESSONS
        if (found := notebook.receipts_in(path, lesson))
    }
    if not attempts:
        raise DataError("the notebook holds no answers", where=str(path),
                        next_step="run the cell receipt(…) at its end and save it, "
                        "or hand in the file of 'course submit'")  # fmt: skip
    _limit(path, attempts)
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Handed(path, files.sha256_file(path), student, "", time, attempts, None)


def _content(attempts: Mapping[str, Sequence[Attempt]]) -> str:
    lines = [repr(a) for lesson in sorted(attempts) for a in attempts[lesson]]
    return files.sha256_bytes("\n".join(lines).encode("utf-8", "backslashreplace"))


def fault_of(path: Path, error: CourseError) -> Fault:
    """Turn an error into a row: file, field, code, message, what to do."""
    place = error.where.removeprefix(str(path)).lstrip(", /") if error.where else ""
    return Fault(
        path.name, "", place[:200], error.problem[:120], str(error)[:2000], error.next_step
    )
