"""Views of training under way: loss and gradient norm, moved weights, a ward of sick runs.

They take plain numbers; a line differs from another by its marker too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.show.plots import _MARKS, BLUE, GREEN, ORANGE, PINK, SKY, _axes

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY)
CEILING = 1e6  # where a loss that is no longer a number is drawn
Curve = Sequence[Mapping[str, float]]


def signals(history: Curve, *, title: str = "") -> Any:
    """Plot loss above and gradient norm below, both over optimizer steps.

    Args:
        history: rows with ``step``, ``loss``, ``grad_norm`` and, once an epoch,
            ``validation_loss``.
        title: printed above.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 4.6)
    axes.remove()
    upper, lower = figure.subplots(2, 1, sharex=True)
    names = (("loss", "training loss"), ("validation_loss", "validation loss"))
    for place, (key, label) in enumerate(names):
        _line(upper, history, key, label, place)
    _line(lower, history, "grad_norm", "gradient norm", 2)
    upper.set(ylabel="loss (nats)", title=title)
    lower.set(xlabel="optimizer step", ylabel="norm before clipping")
    for part in (upper, lower):
        part.set_ylim(bottom=0)
        part.spines[["top", "right"]].set_visible(False)
        part.legend(frameon=False)
    return figure


def _line(axes: Any, history: Curve, key: str, label: str, place: int) -> None:
    points = [(row["step"], row[key]) for row in history if key in row]
    if points:
        axes.plot(
            *zip(*points, strict=True),
            color=COLOURS[place],
            marker=_MARKS[place],
            markevery=max(1, len(points) // 12),
            markersize=4,
            linewidth=1.5,
            label=label,
        )


def ward(cases: Mapping[str, tuple[Curve, Curve]], *, title: str = "") -> Any:
    """Plot the training loss of several runs, each beside its healthy twin, on log scales.

    Args:
        cases: name to ``(history, healthy history)``.
        title: printed above all.

    Returns:
        The matplotlib figure.
    """
    columns = min(4, len(cases))
    lines = -(-len(cases) // columns)
    figure, axes = _axes(2.3 * columns, 2.1 * lines + 0.5)
    axes.remove()
    grid = np.atleast_1d(figure.subplots(lines, columns, sharey=True)).ravel()
    for part, (name, curves) in zip(grid, cases.items(), strict=False):
        for place, (curve, label) in enumerate(zip(curves, ("this run", "healthy"), strict=True)):
            found = np.array([row["loss"] for row in curve], dtype=float)
            loss = np.clip(np.nan_to_num(found, nan=CEILING, posinf=CEILING), 1e-3, CEILING)
            part.plot(
                [row["step"] for row in curve],
                loss,
                color=(ORANGE, BLUE)[place],
                marker=("s", "o")[place],
                markevery=max(1, len(loss) // 6),
                markersize=4,
                linewidth=1.5,
                label=label,
            )
        part.set(yscale="log", title=f"case {name}", xlabel="step")
        part.spines[["top", "right"]].set_visible(False)
    for part in grid[len(cases) :]:
        part.remove()
    for part in grid[::columns]:
        part.set_ylabel("loss (nats)")
    grid[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title)
    return figure


def histograms(parts: Mapping[str, np.ndarray], *, xlabel: str, title: str = "") -> Any:
    """Plot the distribution of several sets of numbers as outlines on a log scale.

    Args:
        parts: name to numbers, such as how far each weight of a layer moved; five at most.
        xlabel: what the numbers are.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.4)
    widest = max(float(np.quantile(np.abs(v), 0.999)) for v in parts.values()) or 1.0
    edges = np.linspace(-widest, widest, 61)
    middles = (edges[:-1] + edges[1:]) / 2
    for place, (name, values) in enumerate(parts.items()):
        counts, _ = np.histogram(values, edges)
        share = np.where(counts, counts / max(1, len(values)), np.nan)
        axes.plot(
            middles,
            share,
            color=COLOURS[place % len(COLOURS)],
            marker=_MARKS[place % len(_MARKS)],
            markevery=(3 * place, 12),
            markersize=4,
            linewidth=1.5,
            label=name,
        )
    axes.set(yscale="log", xlabel=xlabel, ylabel="share of the weights", title=title)
    axes.legend(frameon=False, fontsize=8)
    return figure
