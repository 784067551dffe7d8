"""Figures for the preparation of data: cleaning steps, cuts, wrong labels, padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.show.plots import _MARKS, BLUE, GREEN, ORANGE, PINK, SKY, _axes

_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY)


def precision_recall(steps: Mapping[str, tuple[float, float]], *, title: str = "") -> Any:
    """Plot precision and recall of each step as two marks on one line.

    Args:
        steps: name to ``(precision, recall)``, 0 to 1, the first at the top.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    names = list(steps)[::-1]
    figure, axes = _axes(6.4, 1.1 + 0.36 * len(names))
    for place, name in enumerate(names):
        axes.plot(steps[name], [place, place], color="0.75", linewidth=2, zorder=1)
    for column, (label, colour) in enumerate((("precision", BLUE), ("recall", ORANGE))):
        values = [steps[name][column] for name in names]
        axes.plot(
            values,
            range(len(names)),
            _MARKS[column],
            color=colour,
            label=label,
            markersize=8 - column,
        )
    for place, name in enumerate(names):
        low = min(steps[name])
        text = f"{low:.2f}"
        axes.annotate(
            text, (low, place), xytext=(-8, 0), textcoords="offset points", va="center", ha="right"
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(min([0.9, *map(min, steps.values())]) - 0.12, 1.03)
    axes.set(xlabel="share (the lower of the two is printed)", title=title)
    axes.legend(frameon=False, loc="lower left")
    return figure


def lines(
    curves: Mapping[str, Sequence[float]],
    places: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    joined: bool = True,
) -> Any:
    """Plot several curves over the same places, each with a mark of its own.

    Args:
        curves: name to one value a place; NaN leaves a gap.
        places: on the horizontal axis.
        xlabel, ylabel: what they are, with their unit.
        title: printed above the axes.
        joined: draw lines between the places; not for places without an order, such as seeds.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.2)
    style = "-" if joined else "None"
    for (name, values), colour, mark in zip(curves.items(), _COLOURS, _MARKS, strict=False):
        axes.plot(
            places, values, linestyle=style, color=colour, marker=mark, markersize=6, label=name
        )
    axes.set_xticks(list(places))
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.margins(y=0.15)
    axes.legend(frameon=False)
    return figure


def rectangles(panels: Mapping[str, Sequence[Sequence[int]]], *, title: str = "") -> Any:
    """Plot batches as rectangles: real tokens dark, padding light, one panel for each way.

    Args:
        panels: name to batches, each the lengths of its rows in tokens.
        title: printed above the panels.

    Returns:
        The matplotlib figure.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    figure, every = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.6), layout="constrained", squeeze=False
    )
    figure.set_facecolor("white")
    widest = max(max(batch) for batches in panels.values() for batch in batches)
    colours = ListedColormap(["white", "#e8d5b0", BLUE])
    for axes, (name, batches) in zip(every[0], panels.items(), strict=True):
        image = np.zeros((sum(map(len, batches)), widest))
        row = 0
        for batch in batches:
            for length in batch:
                image[row, : max(batch)] = 1
                image[row, :length] = 2
                row += 1
            axes.axhline(row - 0.5, color="black", linewidth=0.6)
        axes.imshow(image, cmap=colours, vmin=0, vmax=2, aspect="auto", interpolation="none")
        axes.set(
            title=f"{name}: {padding_share(batches):.0%} padding", xlabel="token", ylabel="row"
        )
    figure.suptitle(title)
    return figure


def padding_share(batches: Sequence[Sequence[int]]) -> float:
    """Give the share of padding in batches, each padded to its longest row.

    Args:
        batches: the lengths of the rows of each, in tokens; at least one row.
    """
    whole = sum(len(batch) * max(batch) for batch in batches)
    return 1 - sum(map(sum, batches)) / whole
