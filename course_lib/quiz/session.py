"""What a notebook calls: ``quiz("03")``, ``ask("03.q4")``, ``receipt()``."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError, UnknownNameError
from course_lib.quiz import evidence, render, schema, variants
from course_lib.quiz.answers import Attempt, Store
from course_lib.quiz.answers import receipt as receipt_of
from course_lib.quiz.grade import grade
from course_lib.quiz.records import NEEDS_REVIEW, UNANSWERED, Grade

RECEIPT = "application/vnd.course.receipt+json"


class Session:
    """One quiz, one learner, one kernel: what was answered, and what it earned.

    Args:
        lesson: two digits, such as ``"03"``.
        folder: where ``answers/`` lies; beside the notebook when None.
        seed: decides the learner's variant.
        truth: gives the figure an experiment question asks for; None recomputes it from
            the run folders beside the notebook.
    """

    def __init__(
        self,
        lesson: str,
        folder: Path | None = None,
        seed: bytes = variants.PRACTICE,
        truth: Callable[[schema.Experiment], Any] | None = None,
    ) -> None:
        self.quiz = find_quiz(lesson)
        self.seed, self.truth = seed, truth or from_runs
        self.questions = {q.id: q for q in variants.drawn(self.quiz, seed)}
        beside = folder or notebook_folder()
        self.store = Store(beside / "answers", lesson)
        self.hints: dict[str, int] = {}
        self.latest: dict[str, Attempt] = {}
        self.tries: dict[str, int] = {}
        loaded = self.store.load(receipts_in(notebook_path(), lesson))
        self.damage = loaded.damage
        for one in loaded.attempts:
            self._remember(one)

    def _remember(self, one: Attempt) -> None:
        if one.question in self.questions:
            self.latest[one.question] = one
            self.tries[one.question] = self.tries.get(one.question, 0) + 1
            self.hints[one.question] = max(self.hints.get(one.question, 0), one.hints)

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
            self._remember(self.store.add(one))
        except CourseError as error:
            return self.state(question) | {"value": value, "message": str(error)}
        return self.state(question)

    def hint(self, question: str) -> dict[str, Any]:
        """Open the next hint of a question."""
        most = len(self.questions[question].hints)
        self.hints[question] = min(most, self.hints.get(question, 0) + 1)
        return self.state(question)

    def _grade(self, asked: schema.Question, value: Any) -> Grade:
        truth = self.truth(asked) if isinstance(asked, schema.Experiment) else None
        return grade(asked, value, self.seed, truth=truth)

    def earned(self, question: str) -> float:
        """Give the points the latest answer earns, opened hints paid for."""
        asked, one = self.questions[question], self.latest.get(question)
        if one is None:
            return 0.0
        cost = sum(h.cost for h in asked.hints[: self.hints.get(question, 0)])
        return self._grade(asked, one.value).share * asked.points * (1 - cost)

    def state(self, question: str) -> dict[str, Any]:
        """Give what the page shows of a question, as JSON."""
        asked, one = self.questions[question], self.latest.get(question)
        opened = self.hints.get(question, 0)
        found: dict[str, Any] = {
            "value": one.value if one else None,
            "attempts": self.tries.get(question, 0),
            "hints": [render.block(h.text) for h in asked.hints[:opened]],
            "outcome": "",
            "message": "",
        }
        if one is None:
            return found
        verdict = self._grade(asked, one.value)
        explain = verdict.outcome not in (NEEDS_REVIEW, UNANSWERED)
        return found | {
            "outcome": verdict.outcome,
            "earned": round(self.earned(question), 3),
            "feedback": [render.block(variants.fill(f, self._numbers(asked)))
                         for f in verdict.feedback],
            "explanation": render.block(variants.fill(asked.explanation, self._numbers(asked)))
            if explain else "",
            "detail": dict(verdict.detail),
        }  # fmt: skip

    def _numbers(self, asked: schema.Question) -> dict[str, float]:
        return variants.values(asked, self.seed)

    def view(self, question: str) -> dict[str, Any]:
        """Give a question as the page draws it: rendered texts, no key."""
        shown = variants.present(self.questions[question], self.seed)
        return {
            "id": shown.id,
            "type": shown.type,
            "points": shown.points,
            "stem": render.block(shown.stem),
            "choices": [{"id": c.id, "html": render.inline(c.text)} for c in shown.choices],
            "targets": [{"id": c.id, "text": c.text} for c in shown.targets],
            "unit": shown.unit,
            "hints": shown.hints,
        }

    def summary(self) -> dict[str, Any]:
        """Give answered and all questions, points earned and points there are."""
        return {
            "answered": len(self.latest),
            "questions": len(self.questions),
            "earned": round(sum(map(self.earned, self.latest)), 2),
            "points": sum(q.points for q in self.questions.values()),
        }


def find_quiz(lesson: str) -> schema.Quiz:
    """Find a lesson's practice quiz.

    Raises:
        UnknownNameError: when there is none.
        DataError: when the file has faults.
    """
    folder = files.course_root() / "quizzes"
    found = sorted(folder.glob(f"{lesson}_*.yaml"))
    if not found:
        known = [p.name[:2] for p in sorted(folder.glob("[0-9][0-9]_*.yaml"))]
        raise UnknownNameError("quiz", lesson, known)
    return schema.load_quiz(found[0])


def from_runs(question: schema.Experiment) -> Any:
    """Give the figure a question asks for, from the learner's run folders."""
    runs = os.environ.get("COURSE_RUNS")
    folder = Path(runs) if runs else notebook_folder() / "runs"
    return evidence.figure(folder, question.run, question.answer)


def notebook_path() -> Path | None:
    """Give the notebook that runs, as JupyterLab tells its kernels; None elsewhere."""
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))
    return path if path.is_absolute() and path.suffix == ".ipynb" else None


def notebook_folder() -> Path:
    """Give the folder of the notebook that runs; the working folder outside JupyterLab."""
    path = notebook_path()
    return path.parent if path else Path.cwd()


def receipts_in(notebook: Path | None, lesson: str) -> list[dict[str, Any]]:
    """Give the attempts that receipt cells left in a notebook; [] where there are none."""
    if notebook is None or not notebook.is_file():
        return []
    try:
        content = files.read_json(notebook)
        outputs = [o for cell in content["cells"] for o in cell.get("outputs", [])]
        found = [o["data"][RECEIPT] for o in outputs if RECEIPT in o.get("data", {})]
        return [a for r in found if r.get("lesson") == lesson for a in r["attempts"]]
    except (CourseError, KeyError, TypeError, AttributeError):
        return []  # the notebook is torn or no notebook: the files beside it count


class Receipt:
    """A lesson's answers, to be shown as a table and kept inside the notebook."""

    def __init__(self, session: Session) -> None:
        loaded = session.store.load(receipts_in(notebook_path(), session.quiz.id))
        self.attempts, self.session = receipt_of(loaded.attempts), session

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        total = self.session.summary()
        digest = files.sha256_bytes(json.dumps(self.attempts, sort_keys=True).encode())
        line = (
            f"Quiz {self.session.quiz.id}: {total['answered']} of {total['questions']} answered, "
            f"{total['earned']} of {total['points']:g} points, {len(self.attempts)} attempts kept"
        )
        rows = "".join(
            f"<tr><td>{q}</td><td>{one.attempt}</td><td>{html.escape(one.outcome)}</td></tr>"
            for q, one in sorted(self.session.latest.items())
        )
        head = "<tr><th>question</th><th>attempts</th><th></th></tr>"
        table = f"<p>{line}</p><table>{head}{rows}</table>"
        kept = {"schema": 1, "lesson": self.session.quiz.id, "attempts": self.attempts,
                "sha256": digest}  # fmt: skip
        return {RECEIPT: kept, "text/html": table, "text/plain": line}


def receipt(lesson: str) -> Receipt:
    """Put a lesson's answers into the notebook: run this cell before you hand it in."""
    return Receipt(session(lesson))


_open: dict[tuple[str, str], Session] = {}


def session(lesson: str) -> Session:
    """Give this kernel's session of a lesson; made once, so that cells share it."""
    key = (lesson, str(notebook_folder()))
    if key not in _open:
        _open[key] = Session(lesson)
    return _open[key]


def quiz(lesson: str, part: str = "") -> Any:
    """Show a lesson's quiz, or one part of it, as a widget.

    Args:
        lesson: two digits, such as ``"03"``.
        part: the id of a part; all when empty.

    Raises:
        UnknownNameError: for a lesson without a quiz, or an unknown part.
    """
    from course_lib.quiz.widget import QuizWidget

    opened = session(lesson)
    parts = {p.id: p.title for p in opened.quiz.parts}
    if part and part not in parts:
        raise UnknownNameError(f"part of quiz {lesson}", part, parts)
    ids = [q.id for q in opened.questions.values() if part in ("", q.part)]
    return QuizWidget(opened, ids, parts.get(part, opened.quiz.title))


def ask(question: str) -> Any:
    """Show one question, such as ``ask("03.q4")``, as a widget.

    Raises:
        UnknownNameError: when there is no such question, with close matches.
    """
    from course_lib.quiz.widget import QuizWidget

    opened = session(question.split(".")[0])
    if question not in opened.questions:
        raise UnknownNameError("question", question, opened.questions)
    return QuizWidget(opened, [question], "")


def ex(exercise: str) -> Any:
    """Give an exercise, such as ``ex("03.e1")``: shows its task; ``.check(function)`` checks.

    Raises:
        UnknownNameError: when there is no such exercise, with close matches.
    """
    from course_lib.quiz.exercise import Handle, find

    found = find(files.course_root() / "quizzes" / "exercises", exercise)
    store = session(exercise.split(".")[0]).store
    return Handle(found, store.add)


def progress(lesson: str) -> Mapping[str, Any]:
    """Give how far this learner is with a lesson's quiz."""
    return session(lesson).summary()
