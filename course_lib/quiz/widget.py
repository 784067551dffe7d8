"""The quiz as a widget: shows questions and verdicts, never holds a key.

Keyboard-safe inside JupyterLab: every control carries ``data-lm-suppress-shortcuts``, so
that no key typed into the quiz reaches the notebook's own commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from course_lib.quiz import render, variants

_HERE = Path(__file__).resolve().parent


class QuizWidget(anywidget.AnyWidget):
    """One or more questions of a quiz.

    Args:
        session: grades and keeps the answers.
        questions: ids, in the order shown.
        title: above the questions; empty for a single one.
    """

    _esm = _HERE / "widget.js"
    _css = _HERE / "widget.css"
    title = traitlets.Unicode("").tag(sync=True)
    questions: Any = traitlets.List().tag(sync=True)
    states: Any = traitlets.Dict().tag(sync=True)
    summary: Any = traitlets.Dict().tag(sync=True)
    notice = traitlets.Unicode("").tag(sync=True)
    review: Any = traitlets.List().tag(sync=True)

    def __init__(self, session: Any, questions: list[str], title: str) -> None:
        self._session, self._ids = session, questions
        super().__init__(
            title=title,
            questions=[session.view(q) for q in questions],
            states={q: session.state(q) for q in questions},
            summary=session.summary(questions),
            notice=" ".join(session.damage),
        )
        self.on_msg(self._received)

    def _received(self, _: Any, content: Any, buffers: Any) -> None:
        """Serve a message of the page: ``{"action": ..., "question": ..., "value": ...}``.

        Actions: submit, hint (of one question), review, reset (of all shown).
        """
        action, question = content.get("action"), content.get("question")
        if action == "reset":
            self.notice = self._session.reset(self._ids)
            self.review = []
            self.states = {q: self._session.state(q) for q in self._ids}
        elif action == "review":
            self.review = self._session.review(self._ids)
        elif question in self._ids and action in ("submit", "hint"):
            if action == "submit":
                state = self._session.submit(question, content.get("value"))
            else:
                state = self._session.hint(question)
            self.states = {**self.states, question: state}
        self.summary = self._session.summary(self._ids)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add plain HTML for pages where no kernel runs, and plain text."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        shown = [variants.present(self._session.questions[q], self._session.seed)
                 for q in self._ids]  # fmt: skip
        plain = f"[quiz {self._session.quiz.id}, questions: {len(self._ids)}]"
        data = dict(data or {}) | {
            "text/html": render.page(self.title, shown, self._session.images),
            "text/plain": plain,
        }
        return data, metadata
