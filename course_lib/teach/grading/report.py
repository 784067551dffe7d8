"""The analysis as one HTML page: tables, plots with alternative texts, nothing loaded."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from typing import Any

from course_lib.teach.grading.analysis import Analysis, Item, QuizFigures

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1b1b1b}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{padding:.3rem .6rem;text-align:left;
border-bottom:1px solid #ccc;vertical-align:top}td.n,th.n{text-align:right}
.flag{color:#8a2c00}img{max-width:100%}
"""


def page(found: Analysis, title: str = "What the marks say about the questions") -> str:
    """Give the page; every text in it is escaped."""
    parts = [f"<h1>{html.escape(title)}</h1>", _overview(found)]
    parts += [_quiz(quiz) for quiz in found.quizzes]
    if found.objectives:
        rows = [(o, f"{100 * share:.0f}%") for o, share in found.objectives.items()]
        parts += ["<h2>Objectives</h2>", table(("objective", "#points earned"), rows)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give an HTML table; a heading that begins with # is of a column of numbers."""
    kinds = [' class="n"' if h.startswith("#") else "" for h in head]
    top = "".join(
        f'<th scope="col"{k}>{html.escape(h.lstrip("#"))}</th>'
        for h, k in zip(head, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{k}>{html.escape(c)}</td>" for c, k in zip(r, kinds, strict=True))
        + "</tr>"
        for r in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _shown(value: float, form: str = "{:.2f}") -> str:
    return "-" if math.isnan(value) else form.format(value)


def _overview(found: Analysis) -> str:
    rows = [
        (q.quiz, str(q.students), _shown(100 * q.mean, "{:.0f}%"), _shown(q.alpha),
         _shown(q.minutes, "{:.0f}"), str(sum(bool(i.flags) for i in q.items)))
        for q in found.quizzes
    ]  # fmt: skip
    head = ("quiz", "#students", "#mean", "#alpha", "#median minutes", "#items to look at")
    return table(head, rows) + (
        "<p>Alpha is Cronbach's: how far the items of a quiz measure the same thing. "
        "Discrimination is the correlation of an item with the rest of its quiz; below 0.1 it "
        "tells the better students from the weaker ones no better than chance.</p>"
    )


def _quiz(quiz: QuizFigures) -> str:
    rows = [
        (i.item, i.type, i.objective, str(i.students), f"{100 * i.difficulty:.0f}%",
         _shown(i.discrimination), f"{100 * i.blank:.0f}%", _options(i), "; ".join(i.flags))
        for i in quiz.items
    ]  # fmt: skip
    head = ("item", "type", "objective", "#asked", "#points earned", "#discrimination", "#left out",
            "options: all / best / weakest third", "look at")  # fmt: skip
    picture = _histogram(quiz) if quiz.shares else ""
    return f"<h2>Quiz {html.escape(quiz.quiz)}</h2>{picture}{table(head, rows)}"


def _options(item: Item) -> str:
    return ", ".join(f"{o} {a}/{b}/{c}" for o, (a, b, c) in item.options.items())


def _histogram(quiz: QuizFigures) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.4), layout="constrained")
    axes: Any = figure.subplots()
    axes.hist([100 * s for s in quiz.shares], bins=range(0, 101, 10), color="#0072B2")
    axes.set(xlabel="share of the points (%)", ylabel="students", xlim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
    data = base64.b64encode(target.getvalue()).decode()
    alt = f"Histogram of the {quiz.students} students' shares of the points in quiz {quiz.quiz}"
    return f'<p><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}"></p>'
