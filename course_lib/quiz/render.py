"""Markdown and math of quiz texts to HTML: no scripts, no raw HTML, nothing fetched."""

from __future__ import annotations

import functools
import html
from typing import Any

from course_lib.quiz.records import Presented


@functools.cache
def _renderer() -> Any:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    return made.use(dollarmath_plugin, renderer=_math)


def _math(content: str, options: Any) -> str:
    """Give LaTeX as MathML, which browsers draw themselves; as code where it is not LaTeX."""
    from latex2mathml.converter import convert

    display = "block" if options.get("display_mode") else "inline"
    try:
        return str(convert(content, display=display))
    except Exception:  # the converter raises errors of many kinds on bad input
        return f"<code>{html.escape(content)}</code>"


def block(text: str) -> str:
    """Give Markdown as HTML paragraphs."""
    return str(_renderer().render(text)).strip()


def inline(text: str) -> str:
    """Give one line of Markdown as HTML without a paragraph around it."""
    return str(_renderer().renderInline(text)).strip()


def page(title: str, questions: list[Presented]) -> str:
    """Give questions as plain HTML, for pages where no kernel runs: no key, no form."""
    parts = [f"<h4>{html.escape(title)}</h4>"]
    for number, q in enumerate(questions, 1):
        parts.append(f"<div><strong>{number}.</strong> {block(q.stem)}")
        if q.choices:
            tag = "ol" if q.type == "ordering" else "ul"
            items = "".join(f"<li>{inline(c.text)}</li>" for c in q.choices)
            parts.append(f"<{tag}>{items}</{tag}>")
        if q.targets:
            items = "".join(f"<li>{inline(c.text)}</li>" for c in q.targets)
            parts.append(f"<p>to be matched with</p><ul>{items}</ul>")
        parts.append("</div>")
    parts.append("<p><em>Run this cell in JupyterLab to answer.</em></p>")
    return "\n".join(parts)
