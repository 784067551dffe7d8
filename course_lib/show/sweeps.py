"""Figures of a search for settings: heat map, importance, progress; from plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.show.plots import _MARKS, BLUE, GREEN, ORANGE, PINK, SKY, _axes


def heat_map(
    table: Sequence[Sequence[float]],
    xs: Sequence[str],
    ys: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Any:
    """Plot the best value over two settings; every cell prints its value.

    Args:
        table: values ``[len(ys)][len(xs)]``; NaN leaves a cell empty.
        xs, ys: labels of the columns and rows.
        xlabel, ylabel: the settings.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    values = np.asarray(table, dtype=float)
    figure, axes = _axes(2.0 + 0.8 * len(xs), 1.4 + 0.5 * len(ys))
    picture = axes.imshow(values, cmap="cividis", aspect="auto")
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0, 1)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = value < (low + high) / 2
            axes.text(
                column,
                row,
                f"{value:.3f}",
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    axes.set_xticks(range(len(xs)), xs)
    axes.set_yticks(range(len(ys)), ys)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.spines[:].set_visible(False)
    figure.colorbar(picture, ax=axes, shrink=0.9)
    return figure


def importance_bars(shares: Mapping[str, float], *, title: str = "") -> Any:
    """Plot how much each setting moved the value, the largest at the top.

    Args:
        shares: setting to share, from 0 to 1.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    names = sorted(shares, key=lambda name: shares[name])
    figure, axes = _axes(6.4, 1.0 + 0.4 * len(names))
    axes.barh(range(len(names)), [shares[n] for n in names], color=BLUE)
    for place, name in enumerate(names):
        axes.annotate(
            f"{shares[name]:.2f}", (shares[name], place), xytext=(4, 0),
            textcoords="offset points", va="center",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1.1)
    axes.set(xlabel="importance (share)", title=title)
    return figure


def search_curves(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], *, ylabel: str, title: str = ""
) -> Any:
    """Plot the best value so far over training steps: one colour a method, one line a seed.

    Lines get thinner from method to method, so that one lying under another shows.

    Args:
        curves: method to curves, each a list of ``(steps, best value so far)``.
        ylabel: what the value is.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.2)
    for place, (method, lines) in enumerate(curves.items()):
        colour = (BLUE, ORANGE, GREEN, PINK, SKY)[place % 5]
        for number, points in enumerate(line for line in lines if line):
            axes.step(
                *zip(*points, strict=True),
                where="post",
                color=colour,
                marker=_MARKS[place % 5],
                markersize=4 + 2 * max(0, len(curves) - 1 - place),
                linewidth=1.3 + 2 * max(0, len(curves) - 1 - place),
                label=method if number == 0 else None,
            )
    axes.set(xlabel="training steps, all trials together", ylabel=ylabel, title=title)
    axes.legend(frameon=False)
    return figure
