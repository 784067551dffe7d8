"""Figures of an assistant at work: its replies, what people should read, its stream of mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.show.plots import _MARKS, BLUE, GREEN, ORANGE, PINK, SKY, _axes

_LINES = ("-", "--", "-.", ":")
_COLOURS = (ORANGE, BLUE, GREEN, PINK, SKY, "#000000")


def drift_lines(
    track: Sequence[tuple[int, Mapping[str, float]]],
    limits: Mapping[str, float],
    *,
    planted: int | None = None,
    title: str = "",
) -> Any:
    """Plot each signal of a monitor as a share of its limit; 1 is where the alarm sounds.

    Args:
        track: ``(row of the stream, values by signal)`` at each look.
        limits: the limit of each signal.
        planted: the row after which the world is known to have changed, if it is.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(7.0, 3.6)
    rows = [row for row, _ in track]
    for place, name in enumerate(limits):
        shares = [values[name] / limits[name] for _, values in track]
        axes.plot(
            rows,
            shares,
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_LINES[place % len(_LINES)],
            marker=_MARKS[place % len(_MARKS)],
            markevery=max(1, len(rows) // 8),
            markersize=4,
            linewidth=1.5,
            label=name,
        )
    axes.axhline(1.0, color="black", linewidth=1)
    axes.annotate("alarm", (rows[0], 1.0), xytext=(0, 3), textcoords="offset points")
    if planted is not None:
        axes.axvline(planted, color="grey", linestyle=":", linewidth=1)
        axes.annotate(
            "the world changes", (planted, axes.get_ylim()[0]), xytext=(4, 4),
            textcoords="offset points", color="dimgrey",
        )  # fmt: skip
    axes.set(xlabel="messages received", ylabel="value / limit", title=title)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def review_curve(table: Sequence[Mapping[str, Any]], *, title: str = "") -> Any:
    """Plot the accuracy of what leaves the house against the share that people read first.

    Args:
        table: maps with ``rate`` and ``accuracy``, as ``review.errors_caught`` gives; the first
            with a rate of 0. The dashed line is what reading a random share would bring.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.4)
    rates, reached = [row["rate"] for row in table], [row["accuracy"] for row in table]
    start = reached[0]
    axes.plot(
        rates, reached, color=BLUE, marker=_MARKS[0], markersize=5, label="the least sure first"
    )
    axes.plot(
        rates, [start + r * (1 - start) for r in rates], color=ORANGE, linestyle="--",
        marker=_MARKS[1], markersize=5, label="drawn at random",
    )  # fmt: skip
    for x, y in zip(rates, reached, strict=True):
        axes.annotate(
            f"{y:.2f}", (x, y), xytext=(-3, 6), textcoords="offset points", ha="right", fontsize=8
        )
    axes.margins(x=0.1, y=0.12)
    axes.set(xlabel="share that people read", ylabel="accuracy afterwards", title=title)
    axes.legend(frameon=False, loc="lower right")
    return figure


def two_measures(
    arms: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Any:
    """Plot each arm at its value on two measures, with both intervals as a cross.

    Args:
        arms: name to two ``(value, low, high)``, across and up.
        xlabel, ylabel: what the measures are.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.8, 4.2)
    for place, (name, (across, up)) in enumerate(arms.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        axes.plot(across[1:], [up[0]] * 2, color=colour, linewidth=1)
        axes.plot([across[0]] * 2, up[1:], color=colour, linewidth=1)
        axes.plot(across[0], up[0], marker=_MARKS[place % len(_MARKS)], color=colour, markersize=8)
        right = across[0] > 0.8
        axes.annotate(
            f"{name} ({across[0]:.2f}, {up[0]:.2f})", (across[0], up[0]),
            xytext=(-8 if right else 8, 8), textcoords="offset points",
            ha="right" if right else "left", fontsize=8,
        )  # fmt: skip
    left = min(0.3, *(across[1] - 0.05 for across, _ in arms.values()))
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, xlim=(left, 1.05), ylim=(-0.02, 1.05))
    return figure
