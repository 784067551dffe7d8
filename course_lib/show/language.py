"""Figures of language modeling: what adaptation moved, next-token bars, text against text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.show.plots import BLUE, GREEN, ORANGE, PINK, SKY, _axes

_MARKS = "osD^vPX"  # beside five colours, so that no two of seven look alike
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY)


def before_after(
    arms: Mapping[str, Sequence[float]],
    names: Sequence[str],
    *,
    xlabel: str,
    title: str = "",
) -> Any:
    """Plot one line a text kind, one mark a model on it, values printed; first kind on top.

    Args:
        arms: kind of text to one value a model.
        names: the models, in the order of the values.
        xlabel: what the value is, with its unit.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    kinds = list(arms)[::-1]
    figure, axes = _axes(6.8, 1.4 + 0.75 * len(kinds))
    for place, kind in enumerate(kinds):
        values = arms[kind]
        axes.plot([min(values), max(values)], [place, place], color="0.75", linewidth=2, zorder=1)
        for number, value in enumerate(values):
            axes.plot(
                value, place, _MARKS[number], color=COLOURS[number], markersize=8,
                label=names[number] if place == 0 else None,
            )  # fmt: skip
            axes.annotate(
                f"{value:.1f}", (value, place), xytext=(0, (8, -17, 20)[number % 3]),
                textcoords="offset points", ha="center", fontsize=9, color=COLOURS[number],
            )  # fmt: skip
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(-0.7, len(kinds) - 0.3)
    axes.set_xscale("log")
    ticks = [n * 10**power for power in range(5) for n in (1, 1.5, 2, 3, 5, 7)]
    low, high = min(map(min, arms.values())), max(map(max, arms.values()))
    shown = [t for t in ticks if low / 1.5 < t < high * 1.5]
    axes.set_xticks(shown, [f"{t:,g}" for t in shown])
    axes.minorticks_off()
    axes.margins(x=0.08)
    axes.set(xlabel=xlabel, title=title)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center",
                  ncols=len(names))  # fmt: skip
    return figure


def distributions(panels: Mapping[str, Sequence[tuple[str, float]]], *, title: str = "") -> Any:
    """Plot the same tokens' probabilities side by side, one panel a setting.

    Args:
        panels: setting to ``(token, probability)``, the same tokens in the same order; 0 is
            marked "out".
        title: printed above.

    Returns:
        The matplotlib figure.
    """
    import matplotlib.pyplot as plt

    count = len(next(iter(panels.values())))
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(2.2 + 1.9 * len(panels), 0.9 + 0.27 * count), sharey=True,
        sharex=True, layout="constrained", squeeze=False,
    )  # fmt: skip
    figure.set_facecolor("white")
    for axes, (name, row) in zip(all_axes[0], panels.items(), strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        values = [100 * value for _, value in row]
        axes.barh(range(count), values, color=BLUE)
        for place, value in enumerate(values):
            label = f"{value:.0f}" if value >= 0.5 else "<1" if value else "out"
            axes.text(value, place, f" {label}", va="center", fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.margins(x=0.16)
    tokens = [repr(token).replace("$", r"\$") for token, _ in next(iter(panels.values()))]
    all_axes[0][0].set_yticks(range(count), tokens, fontsize=9)
    all_axes[0][0].invert_yaxis()
    figure.supxlabel("probability of the next token, percent", fontsize=10)
    figure.suptitle(title)
    return figure


def written(
    points: Mapping[str, tuple[float, float]], human: tuple[float, float], *, title: str = ""
) -> Any:
    """Plot texts by how surprising they are to the model and how much they repeat.

    Args:
        points: setting to ``(perplexity, share of repeated word triples)``.
        human: the same of text that a person wrote.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.8, 3.8)
    for number, (name, (x, y)) in enumerate(points.items()):
        colour, mark = COLOURS[number % 5], _MARKS[number % 7]
        axes.plot(x, 100 * y, mark, color=colour, markersize=8, label=f"{name}")
    axes.plot(*(human[0], 100 * human[1]), "*", color="black", markersize=15, label="a person")
    axes.set_xscale("log")
    axes.set_ylim(bottom=-3)
    axes.set(
        xlabel="perplexity of the text for the model (log scale)",
        ylabel="repeated word triples, %",
        title=title,
    )
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    return figure
