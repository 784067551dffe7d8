"""The instructor's keys: a folder of keyed quizzes, exercises and hidden labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.quiz.exercise import Exercise, load_exercises
from course_lib.quiz.schema import Question, Quiz, load_quiz

OWN = Path("quizzes") / "assessment" / "keys"  # for self-study: readable by everybody


@dataclass(frozen=True)
class Keys:
    """What answers are graded with.

    Attributes:
        folder: where hidden labels lie.
        quizzes: by the quiz's id, such as ``03`` or ``assessment``.
        exercises: by id, such as ``03.e1``.
        digests: SHA-256 of each item's keyed content, by question or exercise id; a mark
            remembers with which it was given.
    """

    folder: Path
    quizzes: Mapping[str, Quiz]
    exercises: Mapping[str, Exercise]
    digests: Mapping[str, str]

    def question(self, quiz: str, question: str) -> Question | None:
        """Give a question, or None where the keys do not have it."""
        found = self.quizzes.get(quiz)
        return next((q for q in found.questions if q.id == question), None) if found else None


def find_keys(root: Path, keys: Path | None = None) -> Path:
    """Give the folder of keys: the one named, or the course's own for self-study.

    Raises:
        UsageError: when it is no folder.
    """
    folder = keys or root / OWN
    if not folder.is_dir():
        raise UsageError(
            "there is no folder of keys", where=str(folder),
            expected="a folder with assessment.yaml and assessment_hidden.jsonl",
            next_step="name it with --keys DIR",
        )  # fmt: skip
    return folder


def load_keys(root: Path | None = None, keys: Path | None = None) -> Keys:
    """Read everything answers are graded with.

    The practice quizzes and exercises come from the course; a file of the same name in the
    folder of keys takes its place.

    Args:
        root: the course's folder.
        keys: the instructor's folder; the course's own keys when None.

    Raises:
        DataError: for a file that cannot be read or does not follow its schema.
        UsageError: when ``keys`` is no folder.
    """
    root = root or files.course_root()
    folder = find_keys(root, keys)
    named = {p.name: p for place in (root / "quizzes", folder) for p in place.glob("*.yaml")}
    quizzes = [load_quiz(path) for _, path in sorted(named.items())]
    tasks = {
        p.name: p
        for place in (root / "quizzes", folder)
        for p in (place / "exercises").glob("*.yaml")
    }
    exercises: dict[str, Exercise] = {}
    for _, path in sorted(tasks.items()):
        exercises |= load_exercises(path)
    digests: dict[str, str] = {}
    for item in [*(q for quiz in quizzes for q in quiz.questions), *exercises.values()]:
        if item.id in digests:
            raise DataError("two items have the same id", where=str(folder), got=item.id,
                            next_step="give each question and exercise its own id")  # fmt: skip
        digests[item.id] = files.sha256_bytes(item.model_dump_json().encode())
    return Keys(folder, {q.id: q for q in quizzes}, exercises, digests)
