"""What a notebook calls: ``quiz("03")``, ``ask("03.q4")``, ``ex("03.e1")``, ``receipt()``."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from course_lib import files
from course_lib.errors import UnknownNameError
from course_lib.quiz.answers import receipt as receipt_of
from course_lib.quiz.notebook import RECEIPT, notebook_folder, notebook_path, receipts_in
from course_lib.quiz.state import Session


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
            + ("" if total["recorded"] else f"{total['earned']} of {total['points']:g} points, ")
            + f"{len(self.attempts)} attempts kept, at questions and exercises"
        )
        rows = "".join(
            f"<tr><td>{q}</td><td>{one.attempt}</td><td>{html.escape(one.outcome)}</td></tr>"
            for q, one in sorted(self.session.latest.items())
        )
        head = "<tr><th>question</th><th>attempts</th><th>result</th></tr>"
        table = f"<p>{line}</p>" + (f"<table>{head}{rows}</table>" if rows else "")
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
        lesson: two digits, such as ``"03"``, or ``"assessment"``.
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
    opened = session(exercise.split(".")[0])
    return Handle(found, opened.keep, opened.exercise_hints)


def progress(lesson: str) -> Mapping[str, Any]:
    """Give how far this learner is with a lesson's quiz."""
    return session(lesson).summary()
