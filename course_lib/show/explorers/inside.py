"""Look inside a model: the next tokens it expects after a text, and where one head looks."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.errors import CourseError
from course_lib.show.explorers.panel import panel

# the likeliest next tokens, the text's tokens, attention [layer, head, seq, seq]
Inside = tuple[Sequence[tuple[str, float]], Sequence[str], np.ndarray]
MOST_SHOWN = 24  # tokens of a text in the table, its last ones
_BLUE = "0,114,178"
_LEFT = "style='padding:0 0.8em 0 0;text-align:left;white-space:pre'"


def strongest(tokens: Sequence[str], weights: np.ndarray) -> tuple[int, float]:
    """Give the earlier place at which the last token looks most, and its share.

    The token's own place counts only when there is no other.

    Args:
        tokens: the text's tokens.
        weights: one head's attention, ``[seq, seq]``.
    """
    row = np.asarray(weights)[len(tokens) - 1, : max(1, len(tokens) - 1)]
    place = int(row.argmax())
    return place, float(row[place])


def inside_view(found: Inside, layer: int, head: int) -> str:
    """Give the view as HTML: a table of next tokens, a sentence, and one head's attention.

    Nothing is told by colour alone: every bar and every shaded cell carries its number.

    Args:
        found: what the model gave.
        layer, head: counted from 1, as a reader does.
    """
    following, tokens, weights = found
    one = np.asarray(weights)[layer - 1, head - 1]
    place, share = strongest(tokens, one)
    last, where = html.escape(repr(tokens[-1])), html.escape(repr(tokens[place]))
    said = (
        f"In head {head} of layer {layer} the last token {last} gives {float(one[-1, -1]):.0%} "
        "of its attention to itself."
    )
    if len(tokens) > 1:
        said += f" Of the tokens before, it looks most at {where}: {share:.0%}."
    return (
        "<div style='background:white;color:black;padding:0.4em'>"
        f"<b>Next token</b>{_next_table(following)}"
        f"<p><b>Attention.</b> {said}</p>{_attention_table(tokens, one)}</div>"
    )


def _next_table(following: Sequence[tuple[str, float]]) -> str:
    most = max((p for _, p in following), default=1.0) or 1.0
    rows = "".join(
        f"<tr><td {_LEFT}>{html.escape(repr(token))}</td><td {_LEFT}>{_share(probability)}</td>"
        f"<td style='text-align:left'><div style='background:rgba({_BLUE},0.7);height:0.8em;"
        f"width:{200 * probability / most:.0f}px'></div></td></tr>"
        for token, probability in following
    )
    head = f"<tr><th {_LEFT}>token</th><th {_LEFT}>probability</th><th></th></tr>"
    return f"<table>{head}{rows}</table>"


def _share(probability: float) -> str:
    """Give a probability in percent; a small one with more digits, so that it is not 0.0%."""
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.3%}"


def _attention_table(tokens: Sequence[str], weights: np.ndarray) -> str:
    start = max(0, len(tokens) - MOST_SHOWN)
    names = [html.escape(repr(t)[1:-1].replace(" ", "␣")) for t in tokens[start:]]
    style = "style='writing-mode:vertical-rl;font-weight:normal;padding:6px 2px;line-height:1.4'"
    head = "".join(f"<th scope='col' {style}>{n}</th>" for n in names)
    body = ""
    for row, name in enumerate(names):
        cells = "".join(
            f"<td style='background:rgba({_BLUE},{w:.2f});color:{'white' if w > 0.9 else 'black'};"
            f"text-align:center;min-width:1.7em'>{100 * w:.0f}</td>"
            for w in weights[start + row, start : start + row + 1]
        )
        body += f"<tr><th scope='row' {_LEFT}>{name}</th>{cells}</tr>"
    cut = f"The last {MOST_SHOWN} of {len(tokens)} tokens. " if start else ""
    note = f"{cut}Each row is a token that looks, each column one it looks at, in percent."
    return f"<table><tr><td></td>{head}</tr>{body}</table><p><small>{note}</small></p>"


def inside_explorer(models: Mapping[str, Callable[[str], Inside]], *, text: str) -> Any:
    """Give a widget: type a text, choose a model, a layer and a head.

    The view follows Enter in the text, the list of models and both sliders. What is wrong is
    told as text; what was typed stays.

    Args:
        models: name to a function from a text to what the model makes of it.
        text: to begin with.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    box = widgets.Text(value=text, description="text", continuous_update=False,
                       layout=widgets.Layout(width="95%"))  # fmt: skip
    which = widgets.Dropdown(options=list(models), description="model")
    layer = widgets.IntSlider(value=1, min=1, max=1, description="layer", continuous_update=False)
    head = widgets.IntSlider(value=1, min=1, max=1, description="head", continuous_update=False)
    view = widgets.HTML()
    kept: dict[tuple[str, str], Inside] = {}

    def look() -> Inside:
        key = (which.value, box.value)
        if key not in kept:
            found = models[which.value](box.value)
            kept.clear()
            kept[key] = found
        return kept[key]

    def show(*_: Any) -> None:
        try:
            found = look()
        except CourseError as error:
            view.value = f"<p role='status'>{html.escape(str(error))}</p>"
            return
        layer.max, head.max = found[2].shape[:2]
        view.value = inside_view(found, layer.value, head.value)

    for control in (box, which, layer, head):
        control.observe(show, "value")
    show()
    return panel([box, widgets.HBox([which, layer, head]), view])
