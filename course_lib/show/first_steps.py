"""Curves of the first lesson: perplexity while a model reads, and losses side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.show.plots import _MARKS, BLUE, GREEN, ORANGE, PINK, SKY, _axes

_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY)


def perplexity_points(history: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    """Give ``(tokens read, perplexity)`` of a pre-training run, from the untrained model on.

    Up to the first measurement on held-out text it is that of the training batches, which the
    model then reads for the first time; after it, of the measurements alone.

    Args:
        history: rows with ``tokens``, ``loss`` (nats) and, where it was measured,
            ``val_perplexity``.
    """
    measured = [(r["tokens"], r["val_perplexity"]) for r in history if "val_perplexity" in r]
    until = measured[0][0] if measured else math.inf
    return [(r["tokens"], math.exp(r["loss"])) for r in history if r["tokens"] < until] + measured


def reading_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], *, title: str = "") -> Any:
    """Plot perplexity against tokens read, both on a logarithmic axis, one line a run.

    Args:
        curves: name to a run's history, as :func:`perplexity_points` takes it.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.6)
    for place, (name, history) in enumerate(curves.items()):
        points = perplexity_points(history)
        axes.plot(
            *zip(*points, strict=True), label=name, color=_COLOURS[place % 5],
            marker=_MARKS[place % 5], markevery=max(1, len(points) // 12), markersize=4,
            linewidth=1.5,
        )  # fmt: skip
        x, y = points[-1]
        axes.annotate(f"{y:,.0f}", (x, y), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.08)
    axes.set(xlabel="tokens read", ylabel="perplexity", title=title)
    axes.legend(frameon=False)
    return figure


def losses(curves: Mapping[str, Sequence[float]], *, known: float = 0.0, title: str = "") -> Any:
    """Plot training losses step by step on a logarithmic axis, one line a run.

    A loss that is not a number any more is left out: the line ends there.

    Args:
        curves: name to its losses in nats.
        known: a loss to mark with a line, such as that of guessing; 0 for none.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    from matplotlib import ticker

    figure, axes = _axes(6.4, 3.4)
    for place, (name, values) in enumerate(curves.items()):
        points = [(i, v) for i, v in enumerate(values, 1) if math.isfinite(v) and v > 0]
        axes.plot(
            *zip(*points, strict=True), label=name, color=_COLOURS[place % 5],
            marker=_MARKS[place % 5], markevery=max(1, len(points) // 12), markersize=4,
            linewidth=1.5,
        )  # fmt: skip
    if known:
        axes.axhline(known, color="grey", linestyle="--", linewidth=1, label="guessing")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set(xlabel="step", ylabel="loss (nats)", title=title)
    axes.legend(frameon=False)
    return figure
