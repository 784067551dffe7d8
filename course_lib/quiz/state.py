"""Where a learner stands in one quiz: answers kept, graded, started again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError, UnknownNameError
from course_lib.quiz import evidence, identity, paper, render, schema, variants
from course_lib.quiz.answers import Attempt, Store
from course_lib.quiz.grade import grade
from course_lib.quiz.notebook import notebook_folder, notebook_path, receipts_in
from course_lib.quiz.records import NEEDS_REVIEW, RECORDED, RESET, UNANSWERED, Grade
from course_lib.quiz.replay import Replay

ASSESSMENT = "assessment"


class Session:
    """One quiz, one learner, one kernel: what was answered, and what it earned.

    An assessment comes as a paper without a key: answers are kept, nothing is told.

    Args:
        lesson: two digits, such as ``"03"``, or ``"assessment"``.
        folder: where ``answers/`` lies; beside the notebook when None.
        seed: decides the learner's variant; that of who is enrolled when None.
        truth: gives the figure an experiment question asks for; None recomputes it from
            the run folders beside the notebook.
    """

    def __init__(
        self,
        lesson: str,
        folder: Path | None = None,
        seed: bytes | None = None,
        truth: Callable[[schema.Experiment], Any] | None = None,
    ) -> None:
        self.quiz, self.images = find_quiz(lesson)
        self.recorded = isinstance(self.quiz, paper.Paper)
        beside = folder or notebook_folder()
        self.seed = identity.current(beside).seed if seed is None else seed
        self.truth = truth or from_runs
        self.questions = {q.id: q for q in variants.drawn(self.quiz, self.seed)}
        self.store = Store(beside / "answers", lesson)
        played = Replay(self.questions)
        self.hints, self.latest, self.tries = played.hints, played.latest, played.tries
        self.exercises, self._played = played.exercises, played
        self.exercise_hints: dict[str, int] = {}  # shown in this kernel, by exercise
        loaded = self.store.load(receipts_in(notebook_path(), lesson))
        self.damage = loaded.damage
        for one in loaded.attempts:
            played.take(one)

    def keep(self, one: Attempt) -> Attempt:
        """Put an attempt on disk, then take it into account; give it back as kept."""
        kept = self.store.add(one)
        self._played.take(kept)
        return kept

    def submit(self, question: str, value: Any) -> dict[str, Any]:
        """Grade and keep an answer; give the state the page shows.

        The verdict is told once the answer is on disk. Where it cannot be saved the state
        says so, and the learner can submit again.
        """
        asked = self.questions[question]
        found = self._grade(asked, value)
        if found.outcome == UNANSWERED:
            return self.state(question) | {"message": "Choose or write an answer first."}
        one = Attempt(
            self.quiz.id, question, self.quiz.version, self.tries.get(question, 0) + 1, value, "",
            self.hints.get(question, 0), found.outcome, found.share,
        )  # fmt: skip
        try:
            self.keep(one)
        except CourseError as error:
            return self.state(question) | {"value": value, "message": str(error)}
        return self.state(question)

    def hint(self, question: str) -> dict[str, Any]:
        """Open the next hint of a question."""
        if not self.recorded:
            most = len(self.questions[question].hints)  # type: ignore[arg-type]
            self.hints[question] = min(most, self.hints.get(question, 0) + 1)
        return self.state(question)

    def reset(self, questions: list[str]) -> str:
        """Start the questions again; give "" or why not. Every attempt stays on disk."""
        if self.recorded:
            return "An assessment is not started again; a new answer replaces the last one."
        try:
            self.keep(Attempt(self.quiz.id, "", self.quiz.version, 1, questions, "",
                              outcome=RESET))  # fmt: skip
        except CourseError as error:
            return str(error)
        return ""

    def _grade(self, asked: variants.Asked, value: Any) -> Grade:
        if isinstance(asked, paper.Sheet):
            empty = value is None or value in ("", [], {})
            return Grade(asked.id, UNANSWERED if empty else RECORDED, 0.0, asked.points)
        truth: Any = None
        if isinstance(asked, schema.Experiment):
            truth = self.truth(asked)
        elif isinstance(asked, schema.Code):
            truth = self.exercises.get(asked.exercise)
        return grade(asked, value, self.seed, truth=truth)

    def earned(self, question: str) -> float:
        """Give the points the latest answer earns, opened hints paid for."""
        asked, one = self.questions[question], self.latest.get(question)
        if one is None or isinstance(asked, paper.Sheet):
            return 0.0
        cost = sum(h.cost for h in asked.hints[: self.hints.get(question, 0)])
        return self._grade(asked, one.value).share * asked.points * (1 - cost)

    def state(self, question: str) -> dict[str, Any]:
        """Give what the page shows of a question, as JSON."""
        asked, one = self.questions[question], self.latest.get(question)
        found: dict[str, Any] = {
            "value": one.value if one else None,
            "attempts": self.tries.get(question, 0),
            "hints": [],
            "outcome": "",
            "message": "",
        }
        if isinstance(asked, paper.Sheet):
            return found | {"outcome": RECORDED if one else ""}
        opened = self.hints.get(question, 0)
        found["hints"] = [render.block(h.text) for h in asked.hints[:opened]]
        if one is None:
            return found
        verdict = self._grade(asked, one.value)
        explain = verdict.outcome not in (NEEDS_REVIEW, UNANSWERED)
        return found | {
            "outcome": verdict.outcome,
            "earned": round(self.earned(question), 3),
            "feedback": [self._text(asked, f) for f in verdict.feedback],
            "explanation": self._text(asked, asked.explanation) if explain else "",
            "detail": dict(verdict.detail),
        }

    def _text(self, asked: schema.Question, text: str) -> str:
        return render.block(variants.fill(text, variants.values(asked, self.seed)))

    def view(self, question: str) -> dict[str, Any]:
        """Give a question as the page draws it: rendered texts, no key."""
        asked = self.questions[question]
        shown = variants.present(asked, self.seed)
        return {
            "id": shown.id,
            "type": shown.type,
            "points": shown.points,
            "stem": render.block(shown.stem),
            "image": render.picture(self.images, shown.image),
            "choices": [{"id": c.id, "html": render.inline(c.text)} for c in shown.choices],
            "targets": [{"id": c.id, "text": c.text} for c in shown.targets],
            "unit": shown.unit,
            "hints": shown.hints,
            "exercise": getattr(asked, "exercise", ""),
        }

    def review(self, questions: list[str]) -> list[dict[str, Any]]:
        """Give each question's result, where to read again, and why, for the end review."""
        rows = []
        for number, question in enumerate(questions, 1):
            asked, state = self.questions[question], self.state(question)
            answered = question in self.latest
            rows.append({
                "number": number,
                "outcome": state["outcome"] if answered else UNANSWERED,
                "earned": state.get("earned", 0.0),
                "points": asked.points,
                "section": asked.section,
                "explanation": state.get("explanation", ""),
            })  # fmt: skip
        return rows

    def summary(self, questions: list[str] | None = None) -> dict[str, Any]:
        """Give answered and all questions, points earned and points there are.

        Args:
            questions: ids to count; all of the quiz when None.
        """
        ids = list(self.questions) if questions is None else questions
        return {
            "answered": sum(q in self.latest for q in ids),
            "questions": len(ids),
            "earned": round(sum(self.earned(q) for q in ids), 2),
            "points": sum(self.questions[q].points for q in ids),
            "recorded": self.recorded,
        }


def find_quiz(lesson: str) -> tuple[schema.Quiz | paper.Paper, Path]:
    """Find a lesson's practice quiz, or the assessment's paper; give the folder of images too.

    Raises:
        UnknownNameError: when there is none.
        DataError: when the file has faults.
    """
    folder = files.course_root() / "quizzes"
    sheet = folder / ASSESSMENT / "paper.yaml"
    if lesson == ASSESSMENT and sheet.is_file():
        return paper.load_paper(sheet), sheet.parent
    found = sorted(folder.glob(f"{lesson}_*.yaml"))
    if not found:
        known = [p.name[:2] for p in sorted(folder.glob("[0-9][0-9]_*.yaml"))]
        raise UnknownNameError("quiz", lesson, known)
    return schema.load_quiz(found[0]), folder


def from_runs(question: schema.Experiment) -> Any:
    """Give the figure a question asks for, from the learner's run folders."""
    runs = os.environ.get("COURSE_RUNS")
    folder = Path(runs) if runs else notebook_folder() / "runs"
    return evidence.figure(folder, question.run, question.answer)
