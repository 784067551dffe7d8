"""`course regrade`: replay kept answers with a corrected, widened or voided item.

Only items whose key changed are looked at. Points fall only when asked to. A voided item earns
everybody its points. Every change is a line of history with its reason; runs and artefacts are
not kept in the gradebook, so what depends on them is told and left to `course grade`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from course_lib.errors import UnknownNameError, UsageError
from course_lib.quiz import schema
from course_lib.teach.grading import replaying
from course_lib.teach.grading.gradebook import Gradebook, Mark
from course_lib.teach.grading.marker import Marker


@dataclass(frozen=True, slots=True)
class Change:
    """One mark that changes, or would: from what to what, and whether it was written."""

    student: str
    quiz: str
    item: str
    before: float
    after: float
    outcome: str
    why: str
    written: bool


@dataclass
class Regraded:
    """What a regrade did.

    Attributes:
        items: whose key changed or that were voided. looked_at: marks given with another key.
        changes: marks that differ. kept: of those, the ones left as they were because they
            would have fallen. left: items that need ``course grade`` with the files again.
    """

    items: list[str] = field(default_factory=list)
    looked_at: int = 0
    changes: list[Change] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def regrade(
    book: Gradebook,
    marker: Marker,
    *,
    why: str,
    void: Collection[str] = (),
    allow_lower: bool = False,
    dry_run: bool = False,
) -> Regraded:
    """Grade kept answers again, where the key is another than the one a mark was given with.

    Args:
        book: the gradebook. marker: with the corrected keys and the class's rules.
        why: one sentence for the history and for the students.
        void: items that shall count for everybody.
        allow_lower: also write marks that fall.
        dry_run: say what would change and write nothing.

    Raises:
        UsageError: when no reason is given.
        UnknownNameError: for a voided item that the keys do not have.
        StorageError: when the gradebook cannot be written; nothing is changed then.
    """
    if not why.strip():
        raise UsageError("a regrade needs its reason", next_step="--why 'option b is right too'")
    for item in void:
        if item not in marker.keys.digests:
            raise UnknownNameError("item", item, marker.keys.digests)
    report = Regraded()
    stale = _stale(book, marker, void)
    report.items = sorted({item for _, item in stale})
    report.left = [i for i in report.items if _needs_files(marker, i) and i not in void]
    with book.transaction():
        students = [s for (s,) in book.db.execute("SELECT student FROM students ORDER BY student")]
        for student in students:
            _student(book, marker, student, stale, set(void), why, allow_lower, dry_run, report)
    return report


def _stale(book: Gradebook, marker: Marker, void: Collection[str]) -> set[tuple[str, str]]:
    """Quiz and item of marks given with another key than today's, and of voided items."""
    rows = book.db.execute("SELECT DISTINCT quiz, item, key FROM marks")
    return {
        (quiz, item)
        for quiz, item, key in rows
        if item in void or marker.keys.digests.get(item, key) != key
    }


def _needs_files(marker: Marker, item: str) -> bool:
    for quiz in marker.keys.quizzes.values():
        for q in quiz.questions:
            if q.id == item:
                return isinstance(q, schema.Experiment | schema.Artefact)
    return False


def _student(
    book: Gradebook, marker: Marker, student: str, stale: set[tuple[str, str]], void: set[str],
    why: str, allow_lower: bool, dry_run: bool, report: Regraded,
) -> None:  # fmt: skip
    before = {k: m for k, m in book.marks_of(student).items() if k in stale}
    report.looked_at += len(before)
    again = {place for place in before if not _needs_files(marker, place[1])}
    quizzes = {quiz for quiz, _ in again}
    after = replaying.best(replaying.replayed(book.db, marker, student, quizzes), again)
    for place, old in before.items():
        new = after.get(place)
        if old.item in void:
            digest = marker.keys.digests[old.item]
            new = old._replace(points=old.out_of, share=1.0, outcome="void", key=digest)
        if new is not None:
            _settle(book, old, new, why, allow_lower, dry_run, report)


def _settle(
    book: Gradebook, old: Mark, new: Mark, why: str, allow_lower: bool, dry_run: bool,
    report: Regraded,
) -> None:  # fmt: skip
    falls = new.points < old.points - 1e-9
    differs = falls or new.points > old.points + 1e-9 or new.outcome != old.outcome
    write = not falls or allow_lower
    if differs:
        change = Change(old.student, old.quiz, old.item, old.points, new.points, new.outcome, why,
                        write and not dry_run)  # fmt: skip
        (report.changes if write else report.kept).append(change)
    if write and not dry_run:
        book.set_mark(new, action="regrade", why=why, before=old)
