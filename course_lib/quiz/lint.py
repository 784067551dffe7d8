"""Quality of the question bank: what a file's schema cannot see.

A learner who knows nothing must not score by habit: always the second option, always the
longest. Every question belongs to an objective and a section; every objective is asked
about twice or more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from course_lib import files
from course_lib.errors import DataError
from course_lib.quiz import paper, render, schema

ROOM = 0.05  # what a habit may score above chance over the bank
FEWEST_PER_OBJECTIVE = 2
_NEGATION = re.compile(r"\b(not|never|except|least likely|false|wrong|isn't|doesn't|don't)\b", re.I)
_CATCH_ALL = re.compile(r"^(all|none|both|any) of (the|these|them)\b|^both [a-d] and", re.I)


def load_bank(folder: Path | None = None) -> dict[str, schema.Quiz]:
    """Read every quiz of a folder (the course's own when None), by file name.

    Raises:
        DataError: with the faults of all files together.
    """
    folder = folder or files.course_root() / "quizzes"
    found: dict[str, schema.Quiz] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            found[path.name] = schema.load_quiz(path)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError(f"{len(faults)} quiz files have faults\n" + "\n".join(faults))
    return found


def load_assessment(folder: Path | None = None) -> tuple[dict[str, schema.Quiz], list[str]]:
    """Read the keyed assessment where it lies beside the quizzes, and compare its paper.

    Returns:
        The assessment by its path below the folder ({} where it is kept elsewhere), and a
        line where the paper that is handed out is not the one this key makes.

    Raises:
        DataError: with the faults of the file.
    """
    folder = folder or files.course_root() / "quizzes"
    keyed = folder / "assessment" / "keys" / "assessment.yaml"
    if not keyed.is_file():
        return {}, []
    quiz, sheet = schema.load_quiz(keyed), folder / "assessment" / "paper.yaml"
    made = paper.dump(paper.paper_of(quiz))
    same = sheet.is_file() and files.read_text(sheet) == made
    stale = "assessment/paper.yaml is not what its key makes: write paper.dump(paper.paper_of(key))"
    return {"assessment/keys/assessment.yaml": quiz}, [] if same else [stale]


def lint(
    bank: Mapping[str, schema.Quiz], lessons: Mapping[str, str], folder: Path | None = None
) -> list[str]:
    """Check a bank.

    Args:
        bank: quizzes by file name.
        lessons: the source text of each lesson, by its number.
        folder: where pictures lie; the course's own quizzes when None.

    Returns:
        One line a problem, with file and question; empty when all is well.
    """
    folder = folder or files.course_root() / "quizzes"
    problems = [p for name, quiz in bank.items() for p in _one(name, quiz, lessons)]
    problems += [p for name, quiz in bank.items() for p in _pictures(name, quiz, folder)]
    return problems + habits([q for quiz in bank.values() for q in quiz.questions])


def _one(name: str, quiz: schema.Quiz, lessons: Mapping[str, str]) -> list[str]:
    problems = []
    asked: dict[str, int] = {}
    for q in quiz.questions:
        where = f"{name}, {q.id}"
        asked[q.objective] = asked.get(q.objective, 0) + 1
        if not q.id.startswith(quiz.id) and quiz.id != "assessment":
            problems.append(f"{where}: the id does not belong to quiz {quiz.id}")
        negated = _NEGATION.search(re.sub(r"\*\*.*?\*\*|`[^`]*`", "", q.stem))
        if negated and q.stem.rstrip().endswith("?") and _asks_negatively(q.stem):
            problems.append(f"{where}: put the negation in **bold**: {negated.group(0)!r}")
        if isinstance(q, schema.Single | schema.Multiple):
            problems += [
                f"{where}: {o.text!r} is no option of its own"
                for o in q.options
                if _CATCH_ALL.match(o.text)
            ]
            told = [o.feedback for o in q.options]
            if len(set(told)) < len(told):
                problems.append(f"{where}: two options share their feedback")
        if len(q.explanation.split()) < 8:
            problems.append(f"{where}: the explanation does not say why")
    problems += [
        f"{name}: objective {o} has {n} question, at least {FEWEST_PER_OBJECTIVE} are needed"
        for o, n in asked.items()
        if n < FEWEST_PER_OBJECTIVE and quiz.id != "assessment"
    ]
    if quiz.status == "ready":
        problems += _links(name, quiz, lessons, asked)
    return problems


def _pictures(name: str, quiz: schema.Quiz, folder: Path) -> list[str]:
    problems = []
    for q in quiz.questions:
        try:
            render.picture(folder, q.image.model_dump() if q.image else {})
        except DataError as error:
            problems.append(f"{name}, {q.id}: {error}")
    return problems


def _asks_negatively(stem: str) -> bool:
    last = re.split(r"(?<=[.!?])\s+", re.sub(r"\*\*.*?\*\*|`[^`]*`", "", stem).strip())[-1]
    return bool(re.search(r"\b(which|what|who)\b.*\b(not|never|except)\b", last, re.I))


def _links(
    name: str, quiz: schema.Quiz, lessons: Mapping[str, str], asked: Mapping[str, int]
) -> list[str]:
    """Check objectives and sections against the lesson's text."""
    if quiz.id == "assessment":
        return [p for q in quiz.questions for p in _own_lesson(name, q, lessons)]
    lesson = lessons.get(quiz.lesson)
    if lesson is None:
        return [f"{name}: lesson {quiz.lesson} is not written; say 'status: draft'"]
    objectives, sections = _parts(lesson, quiz.lesson)
    problems = [
        f"{name}: objective {o} is not asked about" for o in sorted(objectives - set(asked))
    ]
    for q in quiz.questions:
        if q.objective not in objectives:
            problems.append(f"{name}, {q.id}: the lesson has no objective {q.objective}")
        if q.section not in sections:
            problems.append(f"{name}, {q.id}: the lesson has no section {q.section!r}")
    return problems


def _parts(lesson: str, number: str) -> tuple[set[str], set[str]]:
    """Give the objectives a lesson declares, and the titles of its sections."""
    objectives = set(re.findall(rf"^- \*\*({number}\.\d+)\*\*", lesson, re.M))
    return objectives, {h.strip() for h in re.findall(r"^#{2,3} (.+)$", lesson, re.M)}


def _own_lesson(name: str, asked: schema.Question, lessons: Mapping[str, str]) -> list[str]:
    """Check a question of the assessment against the lesson its objective belongs to."""
    number = asked.objective[:2]
    if number not in lessons:
        return [f"{name}, {asked.id}: lesson {number} is not written"]
    objectives, sections = _parts(lessons[number], number)
    found = []
    if asked.objective not in objectives:
        found.append(f"{name}, {asked.id}: lesson {number} has no objective {asked.objective}")
    if asked.section not in sections:
        found.append(f"{name}, {asked.id}: lesson {number} has no section {asked.section!r}")
    return found


def habits(questions: Sequence[schema.Question]) -> list[str]:
    """Score what a learner who knows nothing might do on the one-option questions."""
    single = [q for q in questions if isinstance(q, schema.Single)]
    if len(single) < 8:
        return []
    chance = sum(1 / len(q.options) for q in single) / len(single)
    tricks: dict[str, Callable[[schema.Single], int]] = {
        "the longest option": lambda q: max(
            range(len(q.options)), key=lambda i: len(q.options[i].text)
        ),
        "the shortest option": lambda q: min(
            range(len(q.options)), key=lambda i: len(q.options[i].text)
        ),
    }
    for place in range(4):
        tricks[f"option {place + 1}"] = lambda q, place=place: min(  # type: ignore[misc]
            place, len(q.options) - 1
        )
    problems = []
    for trick, choose in tricks.items():
        score = sum(q.options[choose(q)].correct for q in single) / len(single)
        if score > chance + ROOM + 1e-9:
            problems.append(
                f"always {trick} is right in {score:.0%} of {len(single)} questions, "
                f"chance is {chance:.0%}"
            )
    return problems


def lesson_sources() -> dict[str, str]:
    """Give the text of every lesson's source, by its number."""
    folder = files.course_root() / "notebooks" / "source"
    return {p.name[:2]: files.read_text(p) for p in sorted(folder.glob("[0-9][0-9]_*.md"))}
