"""Markdown and math of quiz texts to HTML: no scripts, no raw HTML, nothing fetched."""

from __future__ import annotations

import base64
import functools
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_lib.errors import DataError
from course_lib.quiz.records import Presented

PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
LARGEST_PICTURE = 500_000  # bytes; it goes into the page as text


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


def picture(folder: Path, image: Mapping[str, str]) -> dict[str, str]:
    """Give a question's picture as ``{"src": data URI, "alt": ...}``; {} where there is none.

    Raises:
        DataError: when it is missing, outside the folder, too large or of another kind.
    """
    if not image:
        return {}
    path = folder / image["file"]
    kind = PICTURES.get(path.suffix.lower())
    inside = path.resolve().is_relative_to(folder.resolve())
    fits = path.is_file() and path.stat().st_size <= LARGEST_PICTURE
    if kind is None or not inside or not fits:
        raise DataError(
            "the picture of a question cannot be shown",
            where=str(path),
            expected=f"a file below the quiz's folder that ends in {', '.join(PICTURES)}, "
            f"of at most {LARGEST_PICTURE // 1000} kB",
        )
    data = base64.b64encode(path.read_bytes()).decode()
    return {"src": f"data:{kind};base64,{data}", "alt": image["alt"]}


def page(title: str, questions: list[Presented], folder: Path) -> str:
    """Give questions as plain HTML, for pages where no kernel runs: no key, no form.

    Args:
        title: above them. questions: as one learner sees them.
        folder: where pictures lie.
    """
    parts = [f"<h4>{html.escape(title)}</h4>"]
    for number, q in enumerate(questions, 1):
        parts.append(f"<div><strong>{number}.</strong> {block(q.stem)}")
        if shown := picture(folder, q.image):
            parts.append(f'<img src="{shown["src"]}" alt="{html.escape(shown["alt"])}">')
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
