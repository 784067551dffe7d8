"""A quiz file as a page for its author: what a learner sees, and the key beside it."""

from __future__ import annotations

import html
from pathlib import Path

from course_lib.quiz import render, schema, variants

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }
section { border-top: 1px solid #bbb; padding: .6rem 0; }
.meta { color: #555; font-size: .9em; }
.key { border-left: 4px solid #2e7d32; padding-left: .8rem; background: #f4f8f4; }
li.right { font-weight: 600; } .told { font-weight: 400; color: #444; }
img { max-width: 100%; } pre { overflow-x: auto; background: #f2f2f2; padding: .4rem .6rem; }
"""


def preview(path: Path, seed: bytes = variants.PRACTICE) -> str:
    """Give a quiz file as one HTML page, every question with its key.

    Args:
        path: of the YAML file. seed: whose variant is shown.

    Raises:
        DataError: with every fault of the file.
    """
    quiz = schema.load_quiz(path)
    drawn = variants.drawn(quiz, seed)
    head = (f"{len(quiz.questions)} questions, {len(drawn)} drawn, version {quiz.version}, "
            f"{quiz.status}")  # fmt: skip
    parts = [f"<h1>{quiz.id} · {html.escape(quiz.title)}</h1><p class='meta'>{head}</p>"]
    parts += [_question(n, q, path.parent, seed) for n, q in enumerate(quiz.questions, 1)]
    title = html.escape(f"{quiz.id} {quiz.title}")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _question(number: int, asked: schema.Question, folder: Path, seed: bytes) -> str:
    shown = variants.present(asked, seed)
    meta = (f"{asked.id} · {asked.type} · objective {asked.objective} · {asked.section} · "
            f"{asked.points:g} points")  # fmt: skip
    page = render.page("", [shown], folder).replace("<h4></h4>", "")
    page = page.replace("<p><em>Run this cell in JupyterLab to answer.</em></p>", "")
    numbers = variants.values(asked, seed)
    hints = "".join(f"<li>{render.inline(h.text)} <em>costs {h.cost:.0%}</em></li>"
                    for h in asked.hints)  # fmt: skip
    why = render.block(variants.fill(asked.explanation, numbers))
    return (
        f"<section id='{asked.id}'><p class='meta'>{html.escape(meta)}</p>"
        f"{page.replace('<strong>1.</strong>', f'<strong>{number}.</strong>')}"
        f"<div class='key'>{_key(asked, seed)}{f'<p>Hints</p><ol>{hints}</ol>' if hints else ''}"
        f"{why}</div></section>"
    )


def _key(asked: schema.Question, seed: bytes) -> str:
    """Give the right answer, and what each choice is told."""
    if isinstance(asked, schema.Single | schema.Multiple):
        rows = (
            f"<li{' class=right' if o.correct else ''}>{'✓' if o.correct else '✗'} "
            f"{render.inline(o.text)}<div class='told'>{render.block(o.feedback)}</div></li>"
            for o in asked.options
        )
        return f"<ul>{''.join(rows)}</ul>"
    if isinstance(asked, schema.Numeric):
        return f"<p>{variants.right_number(asked, seed):g} {html.escape(asked.unit)}</p>"
    if isinstance(asked, schema.ShortText):
        return f"<p>{html.escape(' | '.join(asked.accept))}</p>"
    if isinstance(asked, schema.Ordering):
        return f"<ol>{''.join(f'<li>{render.inline(i)}</li>' for i in asked.items)}</ol>"
    if isinstance(asked, schema.Matching):
        pairs = (f"<li>{render.inline(p.left)} → {render.inline(p.right)}</li>"
                 for p in asked.pairs)  # fmt: skip
        return f"<ul>{''.join(pairs)}</ul>"
    if isinstance(asked, schema.Experiment):
        return f"<p>run <code>{html.escape(asked.run)}</code>: {html.escape(asked.answer)}</p>"
    if isinstance(asked, schema.Code):
        return f"<p>exercise {asked.exercise}</p>"
    bands = ", ".join(f"{b.at_least:g} or more: {b.share:.0%}" for b in asked.bands)
    return f"<p>{asked.metric} of <code>{html.escape(asked.run)}</code>: {bands}</p>"
