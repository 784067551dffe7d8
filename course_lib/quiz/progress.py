"""How far a learner is: every saved answer graded again, beside what the course asks for."""

from __future__ import annotations

import contextlib
import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.quiz import evidence, exercise, identity, lint, notebook, schema, variants
from course_lib.quiz.answers import Attempt, Store
from course_lib.quiz.grade import grade
from course_lib.quiz.notebook import with_receipts
from course_lib.quiz.replay import Replay

ASSESSMENT = "assessment"
PASS_QUIZ = 0.7  # a quiz can be tried again at will, so most of it is asked for
PASS_ASSESSMENT = 0.6  # it is answered without being told anything, so less is
MASTERED = 0.8  # with two to four questions an objective: one small slip at most
HEAD = ("lesson", "quiz", "exercises", "objectives mastered", "minutes")
LONGEST_GAP = timedelta(minutes=10)  # between two answers; after that a learner was away
ROUNDING = 1e-9  # points


@dataclass(frozen=True, slots=True)
class LessonProgress:
    """One lesson, or the assessment.

    Attributes:
        lesson: two digits, or "assessment". title: of its quiz.
        answered, questions: of those drawn for this learner.
        earned, points: with the newest answers, hints paid for.
        exercises_done, exercises: correct at the last check, and all.
        objectives: is each mastered: all answered, 80% of its points before hints are paid.
        minutes: see :class:`Progress`.
        open: ids of unanswered questions and of exercises that are not correct yet.
        ready: False while the lesson is a draft, which nobody has to pass.
    """

    lesson: str
    title: str
    answered: int
    questions: int
    earned: float
    points: float
    exercises_done: int
    exercises: int
    objectives: Mapping[str, bool]
    minutes: float
    open: tuple[str, ...]
    ready: bool = True

    @property
    def told(self) -> bool:
        """Whether points may be shown: an assessment's only once all is answered."""
        return self.lesson != ASSESSMENT or self.answered == self.questions

    @property
    def what(self) -> str:
        """How a sentence names it."""
        return "the assessment" if self.lesson == ASSESSMENT else f"lesson {self.lesson}"

    @property
    def needed(self) -> float:
        """Points that must be earned; 0 for a draft."""
        share = PASS_ASSESSMENT if self.lesson == ASSESSMENT else PASS_QUIZ
        return share * self.points if self.ready else 0.0

    @property
    def passed(self) -> bool:
        """Whether the points needed are earned."""
        return self.earned >= self.needed - ROUNDING


@dataclass(frozen=True, slots=True)
class Progress:
    """The whole course.

    Attributes:
        lessons: in order, the assessment last.
        minutes: an estimate: the time between neighbouring answers of any lesson, summed;
            gaps of over 10 minutes count as 0, and reading is not seen.
        damage: one sentence for each fault in the saved answers. next_step: one sentence.
        complete: whether nothing is missing for the certificate.
        missing: each requirement that is not met, in words.
    """

    lessons: tuple[LessonProgress, ...]
    minutes: float
    damage: tuple[str, ...]
    next_step: str
    complete: bool
    missing: tuple[str, ...]


def learner_progress(work: Path, seed: bytes, root: Path | None = None) -> Progress:
    """Grade all saved answers again and say how far the learner is.

    Args:
        work: the folder of the learner's notebooks, ``answers/`` and ``runs/``.
        seed: decides the learner's questions.
        root: the course folder; the course's own when None.

    Raises:
        DataError: when a quiz or exercise file of the course has faults.
    """
    folder = (root or files.course_root()) / "quizzes"
    quizzes = {quiz.id: quiz for quiz in lint.load_bank(folder).values()}
    key = folder / ASSESSMENT / "keys" / f"{ASSESSMENT}.yaml"
    if key.is_file():
        quizzes[ASSESSMENT] = schema.load_quiz(key)
    exercises: dict[str, list[str]] = {}
    for path in sorted((folder / "exercises").glob("*.yaml")):
        for name in exercise.load_exercises(path):
            exercises.setdefault(name.split(".")[0], []).append(name)
    receipts = [r for _, found in with_receipts(work) for r in found]
    damage: list[str] = []
    times: list[datetime] = []
    lessons = []
    for lesson in sorted({*quizzes, *exercises}):  # digits sort before "assessment"
        inside = [a for r in receipts if r["lesson"] == lesson for a in r["attempts"]]
        kept = Store(work / "answers", lesson).load(inside)
        damage += kept.damage
        times += _times(kept.attempts)
        gold = key.parent if lesson == ASSESSMENT else folder
        replay = _Replay(quizzes.get(lesson), seed, work / "runs", gold)
        lessons.append(replay.lesson(lesson, kept.attempts, exercises.get(lesson, [])))
    missing = tuple(m for one in lessons for m in _missing(one))
    if not any(one.ready and one.questions for one in lessons):
        missing = ("the course has no quiz that is ready, so there is nothing to complete",)
    step, minutes = _next(lessons, not missing), _minutes(times)
    return Progress(tuple(lessons), minutes, tuple(damage), step, not missing, missing)


class _Replay:
    """A lesson's attempts, played through in order as the session does, and graded."""

    def __init__(self, quiz: schema.Quiz | None, seed: bytes, runs: Path, gold: Path) -> None:
        self.quiz, self.seed, self.runs, self.gold = quiz, seed, runs, gold
        drawn = {q.id for q in variants.drawn(quiz, seed)} if quiz else set()
        self.questions = {q.id: q for q in quiz.questions if q.id in drawn} if quiz else {}
        self.played = Replay(self.questions)

    def _share(self, asked: schema.Question) -> float:
        """Give the share of a question's points its newest answer is worth, without hints."""
        truth: Any = None
        if isinstance(asked, schema.Experiment):
            truth = evidence.figure(self.runs, asked.run, asked.answer)
        elif isinstance(asked, schema.Code):
            truth = self.played.exercises.get(asked.exercise)
        elif isinstance(asked, schema.Artefact):
            truth = self._artefact(asked)
        one = self.played.latest.get(asked.id)
        return grade(asked, one.value, self.seed, truth=truth).share if one else 0.0

    def _artefact(self, asked: schema.Artefact) -> float | None:
        gold, found = self.gold / asked.gold, list(self.runs.glob(f"{asked.run}/predictions.jsonl"))
        if not found or not gold.is_file():
            return None
        newest = max(found, key=lambda p: p.stat().st_mtime).parent
        return evidence.artefact(newest, gold, asked.metric, asked.field)

    def lesson(self, lesson: str, attempts: Sequence[Attempt],
               exercises: Sequence[str]) -> LessonProgress:  # fmt: skip
        """Play the attempts through and sum them up."""
        for one in attempts:
            self.played.take(one)
        asked = list(self.questions.values())
        share = {q.id: self._share(q) for q in asked}
        done = [e for e in exercises if self.played.exercises.get(e) == exercise.CORRECT]
        unanswered = [q for q in self.questions if q not in self.played.latest]
        mastered = {}
        for objective in sorted({q.objective for q in asked}):
            own = [q for q in asked if q.objective == objective]
            worth = sum(share[q.id] * q.points for q in own)
            enough = worth >= MASTERED * sum(q.points for q in own) - ROUNDING
            mastered[objective] = enough and all(q.id in self.played.latest for q in own)
        return LessonProgress(
            lesson, self.quiz.title if self.quiz else f"Lesson {lesson}",
            len(asked) - len(unanswered), len(asked),
            sum(share[q.id] * q.points * (1 - self._cost(q)) for q in asked),
            sum(q.points for q in asked), len(done), len(exercises), mastered,
            _minutes(_times(attempts)),
            (*unanswered, *(e for e in exercises if e not in done)),
            self.quiz is None or self.quiz.status == "ready",
        )  # fmt: skip

    def _cost(self, asked: schema.Question) -> float:
        opened = self.played.hints.get(asked.id, 0)
        return min(1.0, sum(h.cost for h in asked.hints[:opened]))


def _times(attempts: Iterable[Attempt]) -> list[datetime]:
    found = []
    for one in attempts:
        with contextlib.suppress(TypeError, ValueError):
            time = datetime.fromisoformat(one.time)
            found.append(time if time.tzinfo else time.replace(tzinfo=UTC))
    return found


def _minutes(times: Iterable[datetime]) -> float:
    gaps = (b - a for a, b in itertools.pairwise(sorted(times)))
    near = sum((gap for gap in gaps if gap <= LONGEST_GAP), timedelta())
    return round(near.total_seconds() / 60, 1)


def _number(value: float) -> str:
    return f"{round(value, 2):g}"


def _missing(one: LessonProgress) -> Iterable[str]:
    """Yield each requirement of a lesson that is not met."""
    if not one.passed:
        has = f"{_number(one.earned)} of {_number(one.points)} points"
        if not one.told:
            has = f"{one.answered} of {one.questions} questions are answered"
        yield f"{one.what}: {has}; at least {_number(one.needed)} points are needed"
    if exercises := ", ".join(e for e in one.open if ".e" in e):
        yield f"{one.what}: exercises not correct yet: {exercises}"


def _next(lessons: Sequence[LessonProgress], complete: bool) -> str:
    """Say what to do first; lessons that are only drafts come last."""
    if complete:
        return "All that is needed is done: make your certificate with 'course certificate'."
    for one in sorted(lessons, key=lambda one: not one.ready):
        name = f"{one.what.capitalize()}, {one.title}"
        if one.open:
            more = f" and {len(one.open) - 3} more" if len(one.open) > 3 else ""
            return f"{name}: {', '.join(one.open[:3])}{more}."
        if not one.passed:
            earned, needed = _number(one.earned), _number(one.needed)
            return f"{name}: answer again what went wrong; {earned} of {needed} points needed."
    return "Nothing is open."


class Dashboard:
    """A learner's progress, shown as a table in a notebook and as text elsewhere."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def _rows(self) -> Iterable[tuple[str, ...]]:
        for one in self.progress.lessons:
            points = f", {_number(one.earned)} points" if one.told else ""
            mastered = f"{sum(one.objectives.values())} of {len(one.objectives)}"
            title = one.title if one.lesson == ASSESSMENT else f"{one.lesson} {one.title}"
            yield (title if one.ready else f"{title} (draft)",
                   f"{one.answered} of {one.questions}{points}",
                   f"{one.exercises_done} of {one.exercises}",
                   mastered if one.told else "told at the end", f"{one.minutes:g}")  # fmt: skip

    def _lines(self) -> tuple[str, ...]:
        return f"Next: {self.progress.next_step}", *self.progress.damage

    def __repr__(self) -> str:
        rows = [HEAD, *self._rows()]
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(c.ljust(w) for c, w in zip(r, wide, strict=True)).rstrip() for r in rows]
        return "\n".join([*table, *self._lines()])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        left = 'style="text-align:left"'  # JupyterLab sets tables to the right
        head = "".join(f'<th scope="col"{"" if i else " " + left}>{h}</th>'
                       for i, h in enumerate(HEAD))  # fmt: skip
        rows = (map(html.escape, r) for r in self._rows())
        body = "".join(f'<tr><th scope="row" {left}>{first}</th>'
                       f'{"".join(f"<td>{t}</td>" for t in rest)}</tr>'
                       for first, *rest in rows)  # fmt: skip
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self._lines())
        table = (f"<table><caption>Your progress</caption><thead><tr>{head}</tr></thead>"
                 f"<tbody>{body}</tbody></table>{lines}")  # fmt: skip
        return {"text/html": table, "text/plain": repr(self)}


def dashboard(work: Path | None = None) -> Dashboard:
    """Give the progress of who is enrolled, to be shown in a notebook.

    Args:
        work: the learner's folder; the notebook's own when None.
    """
    folder = work or notebook.notebook_folder()
    return Dashboard(learner_progress(folder, identity.current(folder).seed))
