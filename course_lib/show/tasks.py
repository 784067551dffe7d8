"""Several tasks in one figure: each in a panel of its own, because their metrics do not compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.show.plots import BLUE, ORANGE

Value = tuple[float, float, float]  # the value and the two ends of its interval


def side_by_side(panels: Mapping[str, tuple[str, Mapping[str, Value]]]) -> Any:
    """Plot one panel a task: one mark with its interval for each system, the best at the top.

    The first system of a panel is the one in question (a blue circle), the others are what it
    is measured against (orange squares).

    Args:
        panels: title to the metric's name and the systems' ``(value, low, high)``.

    Returns:
        The matplotlib figure.
    """
    import matplotlib.pyplot as plt

    lines = -(-len(panels) // 2)
    figure, grid = plt.subplots(
        lines, min(2, len(panels)), figsize=(9.2, 2.7 * lines), layout="constrained", squeeze=False
    )
    figure.set_facecolor("white")
    for axes, (title, (metric, systems)) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, systems, next(iter(systems)))
        axes.set(xlabel=metric, title=title)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: Any, systems: Mapping[str, Value], first: str) -> None:
    names = sorted(systems, key=lambda name: systems[name][0])
    digits = 2 if all(high <= 1 for _, _, high in systems.values()) else 1
    axes.spines[["top", "right"]].set_visible(False)
    for place, name in enumerate(names):
        value, low, high = systems[name]
        colour, mark = (BLUE, "o") if name == first else (ORANGE, "s")
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(value, place, marker=mark, color=colour, markersize=7)
        axes.annotate(
            f"{value:.{digits}f}", (high, place), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    most = max(1e-3, *(high for _, _, high in systems.values()))
    axes.set_xlim(-0.03 * most, 1.25 * most)
    axes.locator_params(axis="x", nbins=5)


def entity_types(rows: Sequence[tuple[str, float, float, int]], *, title: str = "") -> Any:
    """Plot recall by type of entity for two systems, a bar each, with the number of entities.

    Args:
        rows: ``(type, first system's recall, second system's recall, entities)``.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    from course_lib.show.plots import _axes

    figure, axes = _axes(6.4, 1.2 + 0.62 * len(rows))
    for place, (_, one, two, _count) in enumerate(rows):
        pairs = ((one, 0.2, BLUE, None, "fine-tuned"), (two, -0.2, ORANGE, "//", "gazetteer"))
        for value, up, colour, hatch, name in pairs:
            axes.barh(
                place + up, value, 0.36, color=colour, hatch=hatch, edgecolor="white",
                label=name if place == 0 else None,
            )  # fmt: skip
            axes.annotate(
                f"{value:.2f}", (value, place + up), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=9,
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{kind} ({count})" for kind, _, _, count in rows])
    axes.set_xlim(0, 1.12)
    axes.set(xlabel="recall", title=title)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure
