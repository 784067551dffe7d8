"""Figures of lesson 07: how much data, which rate, which schedule, and the winner's luck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.show.plots import _MARKS, BLUE, GREEN, ORANGE, PINK, SKY, _axes

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY)


def data_curve(
    arms: Mapping[str, Sequence[tuple[float, float, float, float]]],
    *,
    points: Mapping[str, tuple[float, float]] | None = None,
    ylabel: str,
    title: str = "",
) -> Any:
    """Plot a figure against the number of labelled rows, a line with intervals for each arm.

    Args:
        arms: name to ``(rows, value, low, high)``, by rows.
        points: single runs, name to ``(rows, value)``, drawn as stars.
        ylabel: what the value is.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.8, 3.6)
    seen = {p[0] for line in arms.values() for p in line}
    for place, (name, line) in enumerate(arms.items()):
        rows = [p[0] * (1 + 0.015 * (place - len(arms) / 2)) for p in line]  # bars side by side
        values = [p[1] for p in line]
        below = [max(0.0, p[1] - p[2]) for p in line]
        above = [max(0.0, p[3] - p[1]) for p in line]
        axes.errorbar(
            rows, values, yerr=[below, above], color=COLOURS[place % 5], capsize=3, linewidth=1.5,
            marker=_MARKS[place % 5], markersize=5, label=name,
        )  # fmt: skip
    for name, (count, value) in (points or {}).items():
        seen.add(count)
        axes.plot(
            count, value, marker="*", markersize=13, color="black", linestyle="none", label=name
        )
        axes.annotate(
            f"{value:.3f}", (count, value), xytext=(9, 0), textcoords="offset points", va="center"
        )
    axes.set_xscale("log")
    shown: list[float] = []
    for count in sorted(seen, reverse=True):  # labels that would touch are left out
        shown += [count] if not shown or count < shown[-1] / 1.35 else []
    axes.set_xticks(shown, [f"{round(c):,}" for c in shown])
    axes.minorticks_off()
    axes.set(xlabel="labelled training rows", ylabel=ylabel, title=title)
    axes.legend(frameon=False, fontsize=8)
    return figure


def rate_curve(
    trials: Sequence[tuple[float, float]],
    *,
    ylabel: str,
    higher: bool = True,
    best: float | None = None,
    title: str = "",
) -> Any:
    """Plot a value over learning rates, the best one named.

    Args:
        trials: pairs of rate and value.
        ylabel: what the value is.
        higher: whether more is better.
        best: the rate to circle; without it that of the best value, of equals the lowest.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.2)
    line = sorted(trials)
    axes.plot(*zip(*line, strict=True), color=BLUE, marker="o", linewidth=1.5)
    for rate, value in line:
        axes.annotate(
            f"{value:.3f}", (rate, value), xytext=(0, 12), textcoords="offset points", ha="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    winner = (max if higher else min)(line, key=lambda pair: pair[1])
    winner = next((pair for pair in line if pair[0] == best), winner)
    axes.plot(*winner, marker="o", markersize=15, markerfacecolor="none", color=ORANGE)
    axes.set_xscale("log")
    axes.set_xticks([rate for rate, _ in line], [f"{rate:.0e}" for rate, _ in line])
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.25)
    axes.set(xlabel="learning rate (logarithmic)", ylabel=ylabel, title=title)
    return figure


def lines(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    xlabel: str,
    ylabel: str,
    top: float | None = None,
    title: str = "",
) -> Any:
    """Plot named curves over one axis; each has its own colour and marker.

    Args:
        curves: name to points; what is not a number is left out.
        xlabel, ylabel: of the axes.
        top: values above it are drawn at it, so that one that explodes leaves the rest legible.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.2)
    for place, (name, points) in enumerate(curves.items()):
        if top is not None and any(y > top for _, y in points):
            name = f"{name} (cut at {top:.1f})"
        kept = [(x, y if top is None else min(y, top)) for x, y in points if math.isfinite(y)]
        if kept:
            axes.plot(
                *zip(*kept, strict=True), color=COLOURS[place % 5], label=name, linewidth=1.5,
                marker=_MARKS[place % 5], markevery=max(1, len(kept) // 8), markersize=4,
                linestyle=("-", "--", ":")[place // 5 % 3],
            )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.set_ylim(bottom=0)
    if curves:
        axes.legend(frameon=False, fontsize=8)
    return figure


def dumbbells(
    pairs: Mapping[str, tuple[float, float]],
    *,
    names: tuple[str, str],
    xlabel: str,
    title: str = "",
) -> Any:
    """Plot two values of each arm with a line between them.

    Args:
        pairs: name to (first, second), the first arm at the top.
        names: what first and second are.
        xlabel: what the value is.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 1.5 + 0.5 * len(pairs))
    for place, (one, two) in enumerate(reversed(list(pairs.values()))):
        axes.plot([one, two], [place, place], color="grey", linewidth=1.5, zorder=1)
        first, second = place == 0, "_nolegend_"
        for value, colour, mark, name in ((one, ORANGE, "s", names[0]), (two, BLUE, "o", names[1])):
            axes.scatter(
                value, place, color=colour, marker=mark, s=60, zorder=2,
                label=name if first else second,
            )  # fmt: skip
            side = 1 if value >= max(one, two) else -1
            axes.annotate(
                f"{value:.3f}", (value, place), xytext=(9 * side, 0), textcoords="offset points",
                va="center", ha="left" if side > 0 else "right",
            )  # fmt: skip
    axes.set_yticks(range(len(pairs)), list(pairs)[::-1])
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.margins(x=0.25)
    axes.set(xlabel=xlabel, title=title)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=2)
    return figure
