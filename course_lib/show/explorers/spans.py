"""Answer a passage question yourself, and see what the models make of it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from course_lib import metrics
from course_lib.errors import CourseError
from course_lib.finetune.records import Example
from course_lib.show.explorers.panel import panel

Answerer = Callable[[Example], str]
Words = Sequence[tuple[str, float, float]]
Look = Callable[[Example], tuple[Words, tuple[float, float]]]
MARKED, TYPED, SILENT = "the marked words", "the typed text", "nothing: no answer there"
SHOWN = 0.05  # a word's probability below this is not printed


def judge(answer: str, row: Example) -> dict[str, float]:
    """Score one answer: ``exact_match`` and ``f1``, the best over the accepted answers, and
    ``in_passage``, 1.0 where its words stand in the passage.

    Args:
        answer: what was said, empty for "no answer".
        row: the question with its passage and accepted answers.
    """
    accepted = row.answers or ("",)
    return {
        "exact_match": max(metrics.exact_match(answer, gold) for gold in accepted),
        "f1": max(metrics.answer_f1(answer, gold) for gold in accepted),
        "in_passage": float(metrics.in_passage(answer, row.text)),
    }


def words_of(text: str) -> list[tuple[int, int]]:
    """Give begin and end of each word of a text."""
    return [m.span() for m in re.finditer(r"\S+", text)]


def marked_text(text: str, first: int, last: int) -> str:
    """Give the piece of a text from its word ``first`` to its word ``last``, counted from 1.

    An empty text when the first word comes after the last, or the words do not exist.
    """
    places = words_of(text)
    if not 1 <= first <= last <= len(places):
        return ""
    return text[places[first - 1][0] : places[last - 1][1]]


def score_table(answers: Mapping[str, str], row: Example) -> str:
    """Give an HTML table of answers with their scores, one line each.

    Args:
        answers: who said it -> what was said.
        row: the question.
    """
    lines = []
    for name, said in answers.items():
        found = judge(said, row)
        place = "-" if not said else "yes" if found["in_passage"] else "no"
        cells = [
            html.escape(name),
            html.escape(said) or "<i>(nothing)</i>",
            f"{found['exact_match']:.0f}",
            f"{found['f1']:.2f}",
            place,
        ]
        lines.append("<tr>" + "".join(f"<td style='{_LEFT}'>{c}</td>" for c in cells) + "</tr>")
    names = ("who", "answer", "EM", "F1", "in the passage")
    head = "".join(f"<th style='{_LEFT}'>{n}</th>" for n in names)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def passage_view(text: str, first: int, last: int) -> str:
    """Give a passage as HTML, the marked words framed, every tenth word numbered."""
    parts, end = [], 0
    for number, (a, b) in enumerate(words_of(text), 1):
        gap = "<br><br>" if "\n" in text[end:a] else " " if end else ""
        word, end = html.escape(text[a:b]), b
        if first <= number <= last:
            word = f"<b style='background:#ffe08a;border-bottom:2px solid black'>{word}</b>"
        parts.append(gap + word + (f"<sup>{number}</sup>" if number % 10 == 0 else ""))
    return f"<div style='{_PAPER}'>{''.join(parts)}</div>"


def heat_view(words: Words, none: tuple[float, float]) -> str:
    """Give words as HTML with the probabilities that the answer starts and ends there.

    Percentages of at least 5 are printed below a word: s for start, e for end.
    """

    def cell(word: str, start: float, end: float) -> str:
        shade = f"rgba(0,114,178,{0.15 + 0.5 * max(start, end):.2f})"
        told = " ".join(f"{k}{100 * p:.0f}" for k, p in (("s", start), ("e", end)) if p >= SHOWN)
        style = f"background:{shade};" if told else ""
        return (
            f"<span style='display:inline-block;vertical-align:top;margin:1px 2px;"
            f"text-align:center;{style}'>{html.escape(word)}<br><small>{told or '&nbsp;'}</small>"
            "</span>"
        )

    parts = [cell("(no answer)", *none), *(cell(*word) for word in words)]
    return f"<div style='{_PAPER}'>{''.join(parts)}</div>"


_LEFT = "text-align:left;vertical-align:top;padding-right:1em"
_PAPER = "background:white;color:black;padding:0.5em;max-width:60em;line-height:1.5"


def span_explorer(
    rows: Sequence[Example],
    models: Mapping[str, Answerer],
    looks: Mapping[str, Look] | None = None,
) -> Any:
    """Give a widget: pick a passage and a question, answer it, then see the models' answers.

    Args:
        rows: questions with passages; those of one passage are offered together.
        models: name -> a function from a question to its answer, empty for "no answer".
        looks: name -> a function from a question to ``(words, none)``: a span head's
            probabilities, as in ``course_lib.show.spans.word_probabilities``.

    Returns:
        An ``ipywidgets.VBox``.
    """
    return _Explorer(rows, models, looks or {}).box


class _Explorer:
    """The widgets and what they do to each other."""

    def __init__(
        self, rows: Sequence[Example], models: Mapping[str, Answerer], looks: Mapping[str, Look]
    ) -> None:
        import ipywidgets as widgets

        self.models, self.looks = models, looks
        self.told: dict[tuple[str, str], str] = {}  # a model is asked once a question
        self.changing = False
        self.by_passage: dict[str, list[Example]] = {}
        for row in rows:
            self.by_passage.setdefault(row.text, []).append(row)
        wide = {"layout": {"width": "95%"}, "style": {"description_width": "9em"}}
        short = [(f"{n}. {' '.join(t.split()[:9])} …", t) for n, t in enumerate(self.by_passage, 1)]
        self.passage = widgets.Dropdown(options=short, description="passage", **wide)
        self.question = widgets.Dropdown(description="question", **wide)
        self.first = widgets.IntSlider(value=1, min=1, max=1, description="first word", **wide)
        self.last = widgets.IntSlider(value=1, min=1, max=1, description="last word", **wide)
        self.typed = widgets.Text(
            description="or type", placeholder="an answer in your words", continuous_update=False,
            **wide,
        )  # fmt: skip
        self.mine = widgets.Dropdown(
            options=[MARKED, TYPED, SILENT], description="you answer with", **wide
        )
        self.reveal = widgets.Dropdown(
            options=["not yet", "yes", *(f"yes, and {name}" for name in looks)],
            description="show the answers",
            **wide,
        )
        self.text, self.verdict = widgets.HTML(), widgets.HTML()
        self.box = panel(
            [self.passage, self.question, self.text, self.first, self.last, self.typed, self.mine,
             self.reveal, self.verdict]
        )  # fmt: skip
        self.passage.observe(self._new_passage, "value")
        for each in (self.question, self.first, self.last, self.mine, self.reveal):
            each.observe(self._show, "value")
        self.typed.observe(self._typed, "value")
        self._new_passage()

    def _new_passage(self, *_: Any) -> None:
        rows = self.by_passage.get(self.passage.value, [])
        count = max(1, len(words_of(self.passage.value or "")))
        self.changing = True
        for slider in (self.first, self.last):
            slider.max = count
            slider.value = 1
        self.question.options = [(r.question, r) for r in rows]
        self.question.value = rows[0] if rows else None
        self.changing = False
        self._show()

    def _typed(self, *_: Any) -> None:
        if self.typed.value.strip() and self.mine.value != TYPED:
            self.mine.value = TYPED  # which shows it
        else:
            self._show()

    def _answer(self, row: Example) -> tuple[str, str]:
        """Give the learner's answer, and what is wrong with it."""
        if self.mine.value == SILENT:
            return "", ""
        if self.mine.value == TYPED:
            said = str(self.typed.value).strip()
            return said, "" if said else "Nothing is typed yet: that counts as no answer."
        said = marked_text(row.text, self.first.value, self.last.value)
        return said, "" if said else "The first word comes after the last: nothing is marked."

    def _show(self, *_: Any) -> None:
        row = self.question.value
        if self.changing:
            return
        if row is None:
            self.verdict.value = "<p>There is no question to answer.</p>"
            return
        self.text.value = passage_view(row.text, self.first.value, self.last.value)
        said, problem = self._answer(row)
        parts = [f"<p>{html.escape(problem)}</p>"] if problem else []
        if self.reveal.value == "not yet":
            parts.append(f"<p>Your answer: <b>{html.escape(said) or '(nothing)'}</b></p>")
        else:
            parts += self._revealed(row, said)
        self.verdict.value = "".join(parts)

    def _revealed(self, row: Example, said: str) -> list[str]:
        gold = " | ".join(row.answers) or "(none: the passage does not say)"
        answers, parts = {"you": said}, [f"<p>Accepted: <b>{html.escape(gold)}</b></p>"]
        for name, answer in self.models.items():
            try:
                if (name, row.id) not in self.told:
                    self.told[name, row.id] = answer(row)
                answers[name] = self.told[name, row.id]
            except (CourseError, ValueError, RuntimeError) as error:
                parts.append(f"<p>{html.escape(name)} failed: {html.escape(str(error))}</p>")
        parts.append(score_table(answers, row))
        name = str(self.reveal.value).removeprefix("yes, and ")
        if name in self.looks:
            parts.append(f"<p>{html.escape(name)}, start (s) and end (e) in percent:</p>")
            try:
                parts.append(heat_view(*self.looks[name](row)))
            except (CourseError, ValueError, RuntimeError) as error:
                parts.append(f"<p>It failed: {html.escape(str(error))}</p>")
        return parts
