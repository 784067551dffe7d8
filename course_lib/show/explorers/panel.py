"""What every explorer stands in: a box that is safe at the keyboard and says what it is.

JupyterLab takes the keys of a dropdown, slider or button in an output for its own: an arrow
goes to the next cell, ``x`` cuts the cell. It lets alone only what carries the attribute
``data-lm-suppress-shortcuts`` itself, which no control of ipywidgets does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PLAIN = "[explorer: run this cell in JupyterLab to use it]"
_SHIELD = """
function shield(event) {
  if (event.target.closest?.(".jupyter-widgets")) {
    event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  }
}

export default {
  initialize() {
    document.addEventListener("focusin", shield);
    return () => document.removeEventListener("focusin", shield);
  },
};
"""
_CSS = """
.course-explorer :is(td, th) {
  padding: 0 0.6em;
}
"""


def panel(rows: Sequence[Any]) -> Any:
    """Put an explorer's rows into a box whose controls receive their keys themselves.

    Args:
        rows: widgets, from top to bottom.

    Returns:
        An ``ipywidgets.VBox``; as text, where no kernel runs, it says how to use it.
    """
    import anywidget
    import ipywidgets as widgets

    class Keys(anywidget.AnyWidget):
        """Never shown: it works on the page for as long as it lives."""

        _esm, _css = _SHIELD, _CSS

    class Panel(widgets.VBox):  # type: ignore[misc]
        shield = Keys()

        def __repr__(self) -> str:
            return PLAIN

    return Panel(rows, _dom_classes=("course-explorer",))
