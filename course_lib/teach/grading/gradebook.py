"""The gradebook: SQLite, one writer, every change of a mark kept with its reason."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from course_lib.errors import DataError, StorageError
from course_lib.quiz.answers import Attempt, now
from course_lib.teach.grading import layout

WAIT = 15.0  # seconds for another writer to end
_MARK = f"INSERT OR REPLACE INTO marks VALUES({','.join('?' * 13)})"
_HISTORY = (
    "INSERT INTO history(time, action, actor, student, quiz, item, before, after, why, "
    f"key_before, key_after) VALUES({','.join('?' * 11)})"
)


class Mark(NamedTuple):
    """What one item earned a student.

    Attributes:
        student, quiz, item: ids. kind: ``question``, ``exercise`` or ``artefact``.
        points, out_of, share: points earned, points there are, and the share before hints.
        outcome: ``right``, ``partial``, ``wrong``, ``blank``, ``needs_review``, ``void`` or
            ``queued``.
        key: SHA-256 of the key it was given with. version: of the quiz answered.
        answer: the number of the answer in the gradebook, if there is one.
        detail: what else is told, as JSON.
    """

    student: str
    quiz: str
    item: str
    kind: str
    points: float
    out_of: float
    share: float
    outcome: str
    key: str = ""
    version: int = 0
    answer: int | None = None
    detail: str = "{}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in a file that could not be marked: where, which code, and what to do."""

    file: str
    student: str
    field: str
    code: str
    message: str
    next_step: str = ""


class Gradebook:
    """An open gradebook. Use it as a context manager; one process writes at a time.

    Args:
        path: of the SQLite file; made when there is none.
        actor: who grades, for the history.

    Raises:
        DataError: when the file is no gradebook, or of a newer version.
        StorageError: when it cannot be opened, or another process is writing.
    """

    def __init__(self, path: Path, *, actor: str = "course grade") -> None:
        self.path, self.actor = path, actor
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
            layout.prepare(self.db, path)
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from None
        except OSError as error:
            raise StorageError("the gradebook cannot be opened", where=str(path),
                               got=error.strerror or str(error)) from None  # fmt: skip

    def _trouble(self, error: sqlite3.DatabaseError) -> DataError | StorageError:
        if isinstance(error, sqlite3.OperationalError):
            return StorageError(
                "the gradebook cannot be written", where=str(self.path), got=str(error),
                next_step="let the other process end; see that folder and disk can be written",
            )  # fmt: skip
        return DataError("this is no gradebook", where=str(self.path), got=str(error),
                         next_step="name another file with --gradebook")  # fmt: skip

    def __enter__(self) -> Gradebook:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept together or not at all.

        Raises:
            StorageError: when the disk is full or another process writes.
        """
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                layout.add_indexes(self.db)
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise self._trouble(error) from None

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Inside a transaction: what is written inside is undone when it raises."""
        self.db.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK TO one")
            self.db.execute("RELEASE one")
            raise
        self.db.execute("RELEASE one")

    def add_student(
        self, student: str, name: str = "", course: str = "", *, enrolled: bool
    ) -> None:
        """Note a student; a name once known is not blanked."""
        self.db.execute(
            "INSERT INTO students VALUES(?,?,?,?) ON CONFLICT(student) DO UPDATE SET "
            "name=CASE excluded.name WHEN '' THEN name ELSE excluded.name END, "
            "course=CASE excluded.course WHEN '' THEN course ELSE excluded.course END, "
            "enrolled=MAX(enrolled, excluded.enrolled)",
            (student, name, course, int(enrolled)),
        )

    def has(self, student: str, sha256: str) -> bool:
        """Tell whether this very file of this student was graded before."""
        row = self.db.execute(
            "SELECT 1 FROM submissions WHERE student=? AND sha256=? AND status='graded'",
            (student, sha256),
        )
        return row.fetchone() is not None

    def add_submission(
        self, student: str, file: str, sha256: str, handed_in: str, late: int
    ) -> int:
        """Note a submission; give its number. Answers of an earlier, unfinished try go."""
        old = self.db.execute(
            "SELECT id FROM submissions WHERE student=? AND sha256=?", (student, sha256)
        ).fetchone()
        if old:
            self.db.execute("DELETE FROM answers WHERE submission=?", old)
            self.db.execute("DELETE FROM submissions WHERE id=?", old)
        made = self.db.execute(
            "INSERT INTO submissions(student, file, sha256, handed_in, graded, late_seconds, "
            "status) VALUES(?,?,?,?,?,?,'graded')", (student, file, sha256, handed_in, now(), late),
        )  # fmt: skip
        return int(made.lastrowid or 0)

    def add_answers(self, submission: int, student: str, attempts: Sequence[Attempt]) -> list[int]:
        """Keep answers as they were given; give their numbers."""
        (last,) = self.db.execute("SELECT coalesce(max(id), 0) FROM answers").fetchone()
        self.db.executemany(
            "INSERT INTO answers VALUES(?,?,?,?,?,?,?,?,?,?,?)",
            [
                (last + i, submission, student, a.quiz, a.question, a.version, a.attempt,
                 json.dumps(a.value, ensure_ascii=True), a.time, a.hints, a.outcome)
                for i, a in enumerate(attempts, 1)
            ],
        )  # fmt: skip
        return list(range(last + 1, last + 1 + len(attempts)))

    def marks_of(self, student: str) -> dict[tuple[str, str], Mark]:
        """Give a student's marks by quiz and item."""
        return {(m.quiz, m.item): m for m in self.marks("WHERE student=?", (student,))}

    def marks(self, where: str = "", values: Sequence[Any] = ()) -> Iterator[Mark]:
        """Yield marks, in the order of student, quiz and item.

        Args:
            where: an SQL condition that begins with WHERE, or nothing. values: for its marks.
        """
        for row in self.db.execute(
            "SELECT student, quiz, item, kind, points, out_of, share, outcome, key, version, "
            f"answer, detail FROM marks {where} ORDER BY student, quiz, item", values,
        ):  # fmt: skip
            yield Mark(*row)

    def set_mark(self, mark: Mark, *, action: str, why: str, before: Mark | None) -> bool:
        """Write a mark and, where it changes what a student has, a line of history.

        Args:
            mark: the new one. before: the one it replaces, if any.
            action: ``grade``, ``regrade`` or ``review``. why: one sentence.

        Returns:
            Whether points or outcome changed.
        """
        return self.set_marks([(mark, before)], action=action, why=why) > 0

    def set_marks(self, pairs: Iterable[tuple[Mark, Mark | None]], *, action: str, why: str) -> int:
        """Write marks, each given with the one it replaces; else as :meth:`set_mark`.

        Returns:
            How many changed points or outcome.
        """
        time, marks, lines = now(), [], []
        for m, old in pairs:
            marks.append((m.student, m.quiz, m.item, m.kind, m.answer, m.points, m.out_of,
                          m.share, m.outcome, m.key, m.version, time, m.detail))  # fmt: skip
            if not old or (old.points, old.outcome) != (m.points, m.outcome):
                lines.append((time, action, self.actor, m.student, m.quiz, m.item,
                              old.points if old else None, m.points, why, old.key if old else "",
                              m.key))  # fmt: skip
        self.db.executemany(_MARK, marks)
        self.db.executemany(_HISTORY, lines)
        return len(lines)

    def forget_faults(self, file: str) -> None:
        """Drop the faults of a file that is read again."""
        self.db.execute("DELETE FROM faults WHERE file=?", (file,))

    def add_fault(self, fault: Fault) -> None:
        """Keep a fault; the same one of the same file is kept once."""
        self.db.execute(
            "DELETE FROM faults WHERE file=? AND field=? AND code=?",
            (fault.file, fault.field, fault.code),
        )
        self.db.execute(
            "INSERT INTO faults(time, file, student, field, code, message, next_step) "
            "VALUES(?,?,?,?,?,?,?)",
            (now(), fault.file, fault.student, fault.field, fault.code, fault.message,
             fault.next_step),
        )  # fmt: skip

    def faults(self) -> list[Fault]:
        """Give all faults, in the order they were met."""
        rows = self.db.execute(
            "SELECT file, student, field, code, message, next_step FROM faults ORDER BY id"
        )
        return [Fault(*row) for row in rows]

    def set_flags(self, flags: Sequence[tuple[str, Sequence[str], Mapping[str, Any]]]) -> None:
        """Replace the flags (kind, students, evidence); a flag never changes a mark."""
        self.db.execute("DELETE FROM flags")
        self.db.executemany(
            "INSERT INTO flags(kind, students, evidence) VALUES(?,?,?)",
            [(k, json.dumps(list(s)), json.dumps(dict(e))) for k, s, e in flags],
        )

    def meta(self, key: str, value: str | None = None) -> str:
        """Give a remark on the gradebook as a whole; write it first when ``value`` is given."""
        if value is not None:
            self.db.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (key, value))
        row = self.db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return str(row[0]) if row else ""
