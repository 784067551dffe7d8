"""The roster: a list of students in, each student's token out, as CSV both ways.

Tokens come from the course's secret; the same secret gives the same token again. A cell that a
spreadsheet would take for a formula is written with an apostrophe in front.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.quiz import identity

SECRET_BYTES = 32
MOST = 5_000_000  # bytes of a roster
COLUMNS = ("student", "name")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Student:
    """One line of a roster; ``token`` is empty before it is given."""

    student: str
    name: str
    token: str = ""


def safe(text: str) -> str:
    """Give a cell that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def unsafe(text: str) -> str:
    """Take off the apostrophe that :func:`safe` puts in front."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text


def secret(path: Path, *, create: bool = False) -> bytes:
    """Read the course's secret; make one, readable by its owner alone, when asked to.

    Raises:
        UsageError: when there is none.
        DataError: when the file holds none.
    """
    if not path.exists():
        if not create:
            raise UsageError(
                "there is no secret of the course", where=str(path),
                next_step="'course roster' makes one; keep it, it makes the same tokens again",
            )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as target:
            target.write(secrets.token_hex(SECRET_BYTES) + "\n")
            target.flush()
            os.fsync(descriptor)
    text = files.read_text(path, max_bytes=1000).strip()
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != SECRET_BYTES:
        raise DataError("this is no secret of a course", where=str(path),
                        expected=f"{2 * SECRET_BYTES} hexadecimal digits")  # fmt: skip
    return found


def read_roster(path: Path) -> list[Student]:
    """Read a roster: CSV with a header that names ``student`` and perhaps ``name`` and ``token``.

    Comma, semicolon or tab separate the cells; a byte order mark is taken off.

    Raises:
        DataError: naming the line, for a file that is no such table, an id that is none, or a
            student who is listed twice.
    """
    text = files.read_text(path, max_bytes=MOST).removeprefix("\ufeff")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, strict=True)
    header = [(h or "").strip().lower() for h in reader.fieldnames or ()]
    if "student" not in header:
        raise DataError("a roster's first line names its columns", where=f"{path}, line 1",
                        got=first[:80], expected="student,name")  # fmt: skip
    reader.fieldnames = header
    try:
        return _students(path, reader)
    except csv.Error as error:
        raise DataError("the roster is no readable CSV", where=f"{path}, line {reader.line_num}",
                        got=str(error)) from None  # fmt: skip


def _students(path: Path, reader: csv.DictReader[str]) -> list[Student]:
    found: dict[str, Student] = {}
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        cells = {k: unsafe((v or "").strip()) for k, v in row.items() if isinstance(k, str)}
        if not any(cells.values()):
            continue
        try:
            student = identity.check_student(cells["student"], where)
        except UsageError as error:
            raise DataError(str(error)) from None
        if student in found:
            raise DataError("a student is listed twice", where=where, got=student,
                            next_step="leave one of the two lines out")  # fmt: skip
        found[student] = Student(student, cells.get("name", ""), cells.get("token", ""))
    if not found:
        raise DataError("the roster lists nobody", where=str(path))
    return list(found.values())


def give_tokens(students: Iterable[Student], key: bytes, course: str) -> list[Student]:
    """Give each student a token.

    Args:
        students: the roster.
        key: the course's secret.
        course: which class, as it stands in the token.

    Raises:
        UsageError: for a name or course too long for a token.
    """
    return [
        Student(s.student, s.name, identity.token_for(key, s.student, s.name, course))
        for s in students
    ]


def to_csv(students: Sequence[Student]) -> str:
    """Give a roster with tokens as CSV; no cell is run as a formula."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow((*COLUMNS, "token"))
    for s in students:
        writer.writerow((safe(s.student), safe(s.name), s.token))
    return target.getvalue()
