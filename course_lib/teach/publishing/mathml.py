"""Formulas as MathML, which browsers draw themselves: nothing to load, nothing to wait for."""

from __future__ import annotations

import re
from typing import Any

from course_lib.quiz import render

_PIECES = re.compile(
    r"(?P<code>^```.*?^```|^~~~.*?^~~~|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))"
    r"|(?<!\\)\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\d$])",
    re.S | re.M,
)


def mathml(latex: str, *, display: bool = False) -> str:
    """Give a formula as HTML; as code where it is not LaTeX that can be read."""
    if display:
        return render.block(f"$$\n{latex.strip()}\n$$")
    return render.inline(f"${' '.join(latex.split())}$")


def in_markdown(text: str) -> str:
    """Replace the ``$...$`` and ``$$...$$`` of a Markdown text, except in code."""

    def put(match: re.Match[str]) -> str:
        if match["code"]:
            return match[0]
        if match["block"]:
            return "\n\n" + mathml(match["block"], display=True) + "\n\n"
        return mathml(match["inline"])

    return _PIECES.sub(put, text)


def setup(app: Any) -> dict[str, Any]:
    """Register the renderer ``mathml`` with Sphinx."""
    from docutils.nodes import SkipNode  # type: ignore[import-untyped]

    def inline(translator: Any, node: Any) -> None:
        translator.body.append(mathml(node.astext()))
        raise SkipNode

    def block(translator: Any, node: Any) -> None:
        translator.body.append(mathml(node.astext(), display=True))
        raise SkipNode

    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
