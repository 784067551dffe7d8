"""Views of what the diagnosis finds: reliability, coverage, attention, coloured tokens.

They take plain numbers and texts; nothing is told by colour alone.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from course_lib.show.plots import BLUE, ORANGE, _axes

MOST_NAMED = 40  # tokens beyond which an axis names none


def reliability(
    points: Sequence[tuple[float, float, float, float]],
    *,
    title: str = "",
    ece: float | None = None,
) -> Any:
    """Plot accuracy against confidence, one dot with its interval a bin.

    Args:
        points: ``(confidence, accuracy, low, high)`` of each bin, as in
            ``[(b.confidence, b.accuracy.value, b.accuracy.low, b.accuracy.high) for b in
            found.bins]``.
        title: printed above the axes.
        ece: printed in the corner, unless 0.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(4.4, 4.2)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="as sure as right")
    sure, right, low, high = np.array(points, dtype=float).T
    axes.vlines(sure, low, high, color=BLUE, linewidth=2)
    axes.plot(sure, right, "o", color=BLUE, label="bin, 95% interval")
    if ece:
        axes.text(0.97, 0.04, f"ECE {ece:.3f}", ha="right", transform=axes.transAxes)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), title=title)
    axes.legend(frameon=False, loc="upper left")
    return figure


def coverage(
    points: Sequence[tuple[float, float, float, float]], *, title: str = "", wanted: float = 0.0
) -> Any:
    """Plot accuracy against the share of rows answered, with its interval.

    Args:
        points: ``(coverage, accuracy, low, high)`` of each threshold.
        title: printed above the axes.
        wanted: an accuracy to mark with a line; 0 for none.

    Returns:
        The matplotlib figure.
    """
    figure, axes = _axes(6.4, 3.2)
    share, right, low, high = np.array(sorted(points), dtype=float).T
    axes.fill_between(share, low, high, color=BLUE, alpha=0.2, label="95% interval")
    axes.plot(share, right, color=BLUE, linewidth=1.5, label="accuracy")
    if wanted:
        axes.axhline(wanted, color=ORANGE, linestyle="--", label=f"wanted: {wanted:.0%}")
    axes.set(xlabel="share of rows answered", ylabel="accuracy", title=title)
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, loc="upper right")
    return figure


def attention(tokens: Sequence[str], weights: np.ndarray, *, title: str = "") -> Any:
    """Plot one head's attention: each row is a token that looks, each column one looked at.

    Args:
        tokens: ``seq`` tokens.
        weights: ``[seq, seq]``.
        title: printed above the axes.

    Returns:
        The matplotlib figure.
    """
    size = 1.6 + 0.24 * min(len(tokens), MOST_NAMED)
    figure, axes = _axes(size + 0.8, size)
    picture = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, fraction=0.045, label="attention")
    if len(tokens) <= MOST_NAMED:
        names = [t.replace("$", r"\$").replace("\n", "\\n") for t in tokens]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="looked at", ylabel="looks", title=title)
    axes.spines[:].set_visible(False)
    return figure


def tokens(
    found: Sequence[tuple[str, float, int, Sequence[tuple[str, float]]]],
) -> Any:
    """Give a text with every token shaded by its probability, the percentage below it.

    Pointing at a token shows its rank and what the model would rather have said.

    Args:
        found: ``(text, probability, rank, alternatives)`` of each token, as in
            ``[(t.text, t.probability, t.rank, t.alternatives) for t in ...]``.

    Returns:
        An ``IPython.display.HTML``.
    """
    from IPython.display import HTML

    parts = []
    for text, probability, rank, alternatives in found:
        likely = ", ".join(f"{t!r} {p:.0%}" for t, p in alternatives)
        note = f"{probability:.1%}, rank {rank}; likeliest: {likely}"
        shade = f"rgba(213,94,0,{0.6 * (1 - probability):.2f})"
        parts.append(
            f"<span title='{html.escape(note, quote=True)}' tabindex='0' style='background:{shade};"
            "display:inline-block;text-align:center;margin:1px;padding:1px 2px;white-space:pre;"
            f"color:black'>{html.escape(text).replace(chr(10), '↵')}"
            f"<br><small>{100 * probability:.0f}</small></span>"
        )
    view: Any = HTML  # untyped
    return view(
        "<div style='background:white;line-height:1.3'>"
        + "".join(parts)
        + "<p style='color:black'><small>Below each token: its probability in percent. "
        "Darker is less expected.</small></p></div>"
    )
