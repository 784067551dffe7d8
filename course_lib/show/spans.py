"""Pictures of a span head: where it thinks the answer begins and ends, and when it keeps silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.show.plots import _MARKS, BLUE, GREEN, ORANGE, _axes

PRINTED = 0.1  # a bar at least this high carries its value
SILENT = "(no answer)"


def word_probabilities(
    words: Sequence[tuple[str, float, float]],
    none: tuple[float, float] | None = None,
    *,
    title: str = "",
) -> Any:
    """Plot for each word the probability that the answer starts, and that it ends, there.

    Args:
        words: ``(word, start, end)`` of each word; one sentence is legible, a page is not.
        none: the two probabilities of "no answer", drawn in front of the first word.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    front = [(SILENT, none[0], none[1])] if none else []
    bars = [*front, *words]
    heights = {"start": [bar[1] for bar in bars], "end": [bar[2] for bar in bars]}
    figure, axes = _axes(max(4.8, 1.6 + 0.5 * len(bars)), 3.4)
    places = np.arange(len(bars))
    for column, (name, colour, hatch) in enumerate((("start", BLUE, ""), ("end", ORANGE, "///"))):
        at = places + (column - 0.5) * 0.4
        axes.bar(at, heights[name], 0.4, color=colour, hatch=hatch, edgecolor="white", label=name)
        for x, height in zip(at, heights[name], strict=True):
            if height >= PRINTED:
                told = f"{height:.2f}".removeprefix("0")
                axes.annotate(told, (x, height), ha="center", va="bottom", fontsize=7)
    axes.set_xticks(
        places, [b[0].replace("$", r"\$") for b in bars], rotation=60, ha="right", fontsize=9
    )
    most = max(max(values) for values in heights.values())
    axes.set(ylabel="probability", ylim=(0, 1.15 * most), title=title)
    axes.legend(frameon=False)
    return figure


def thresholds(
    points: Sequence[tuple[float, float, float, float]],
    chosen: Mapping[str, float],
    *,
    title: str = "",
) -> Any:
    """Plot the F1 of answerable, unanswerable and all questions as the threshold rises.

    Args:
        points: ``(threshold, answerable, unanswerable, all)``, as in ``[(c.threshold,
            c.f1_answerable, c.f1_unanswerable, c.f1) for c in cuts]``.
        chosen: name to threshold, each drawn as an upright line.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.4)
    table = np.array(sorted(points), dtype=float).T
    names = (("answerable", BLUE), ("unanswerable", ORANGE), ("all questions", GREEN))
    for (name, colour), mark, values in zip(names, _MARKS, table[1:], strict=False):
        axes.plot(
            table[0], values, color=colour, label=name, marker=mark, markersize=4,
            markevery=max(1, len(values) // 10), drawstyle="steps-mid", linewidth=1.5,
        )  # fmt: skip
    for (name, threshold), style in zip(chosen.items(), ("--", ":", "-."), strict=False):
        axes.axvline(threshold, color="black", linestyle=style, linewidth=1, label=name)
    axes.set(xlabel="threshold: lead an answer needs (logits)", ylabel="F1", title=title)
    axes.set_ylim(-0.02, 1.05)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
