"""Read the rows behind one cell of a confusion matrix."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.show.explorers.panel import panel


def confusion_rows(
    predictions: Sequence[Mapping[str, Any]], texts: Mapping[str, str], gold: str, predicted: str
) -> list[tuple[float, str]]:
    """Give ``(probability, text)`` of the rows with that true and predicted class, surest first.

    Args:
        predictions: maps with ``id``, ``gold``, ``prediction`` and ``probabilities``.
        texts: text by row id.
        gold: the true class.
        predicted: the class the model chose.
    """
    chosen = [p for p in predictions if p["gold"] == gold and p["prediction"] == predicted]
    rows = [(float(p["probabilities"][predicted]), texts[p["id"]]) for p in chosen]
    return sorted(rows, reverse=True)


def confusion_explorer(
    predictions: Sequence[Mapping[str, Any]], texts: Mapping[str, str], labels: Sequence[str]
) -> Any:
    """Give a widget: pick a true and a predicted class, read the rows in that cell.

    Args:
        predictions: as for :func:`confusion_rows`.
        texts: text by row id.
        labels: class names.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    wrong = [(p["gold"], p["prediction"]) for p in predictions if p["gold"] != p["prediction"]]
    start = max(sorted(set(wrong)), key=wrong.count) if wrong else (labels[0], labels[0])
    gold = widgets.Dropdown(options=list(labels), value=start[0], description="true")
    guess = widgets.Dropdown(options=list(labels), value=start[1], description="predicted")
    table = widgets.HTML()

    def show(*_: Any) -> None:
        rows = confusion_rows(predictions, texts, gold.value, guess.value)
        body = "".join(
            f"<tr><td style='vertical-align:top;padding-right:1em'>{p:.2f}</td>"
            f"<td style='text-align:left'>{html.escape(t)}</td></tr>"
            for p, t in rows
        )
        head = (
            "<tr><th style='padding-right:1em'>probability</th>"
            "<th style='text-align:left'>text</th></tr>"
        )
        count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
        table.value = f"<p>{count}</p><table>{head if rows else ''}{body}</table>"

    gold.observe(show, "value")
    guess.observe(show, "value")
    show()
    return panel([widgets.HBox([gold, guess]), table])
