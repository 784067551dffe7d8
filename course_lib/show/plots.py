"""Matplotlib figures of the lessons: legible in light and dark themes, colour-blind-safe.

Colours are Okabe & Ito's (2008); a line also differs by marker and a bar by its
printed value, so nothing is told by colour alone. Figures have a white ground of
their own, so that a dark JupyterLab theme does not swallow the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
_MARKS = "osD^v"


def _axes(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    figure.set_facecolor("white")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def learning_curve(history: Sequence[Mapping[str, float]], *, title: str = "") -> Any:
    """Plot training and validation loss over optimizer steps.

    A loss with forty points or more is drawn as a running mean over a twentieth of them,
    and point by point behind it, pale.

    Args:
        history: rows with ``step`` and any of ``loss`` and ``validation_loss`` (nats).
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.2)
    names = (("loss", "training", BLUE), ("validation_loss", "validation", ORANGE))
    for (key, label, colour), mark in zip(names, _MARKS, strict=False):
        points = [(row["step"], row[key]) for row in history if key in row]
        if not points:
            continue
        steps, values = (np.array(column) for column in zip(*points, strict=True))
        if (width := len(points) // 20) > 1:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
            steps, values = (
                np.convolve(v, np.ones(width) / width, "valid") for v in (steps, values)
            )
            label += ", running mean"
        every = max(1, len(steps) // 12)
        axes.plot(
            steps,
            values,
            color=colour,
            label=label,
            marker=mark,
            markevery=every,
            markersize=4,
            linewidth=1.5,
        )
    axes.set(xlabel="optimizer step", ylabel="loss (nats)", title=title)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str], *, title: str = "") -> Any:
    """Plot a confusion matrix: rows are the true classes, columns the predicted ones.

    Args:
        counts: square table ``[classes, classes]`` of row counts.
        labels: class names in the table's order.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    table = np.asarray(counts)
    size = 1.8 + 0.55 * len(labels)
    figure, axes = _axes(size + 1.2, size)
    axes.imshow(table, cmap="Blues", vmin=0)
    for (row, column), value in np.ndenumerate(table):
        if value:
            dark = value > table.max() / 2
            axes.text(
                column,
                row,
                str(value),
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontweight="bold" if row == column else "normal",
            )
    names = [label.replace("_", " ") for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.spines[:].set_visible(False)
    return figure


def compare(arms: Mapping[str, tuple[float, float, float]], *, xlabel: str, title: str = "") -> Any:
    """Plot one dot with its interval for each arm, best at the top.

    Args:
        arms: name to ``(value, low, high)``.
        xlabel: what the value is, with its unit.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    names = sorted(arms, key=lambda name: arms[name][0])
    figure, axes = _axes(6.4, 1.2 + 0.42 * len(names))
    for place, name in enumerate(names):
        value, low, high = arms[name]
        axes.plot([low, high], [place, place], color=BLUE, linewidth=2)
        axes.plot(value, place, marker=_MARKS[0], color=BLUE, markersize=7)
        axes.annotate(
            f"{value:.3f}", (high, place), xytext=(6, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.margins(x=0.14)
    axes.set(xlabel=xlabel, title=title)
    return figure
