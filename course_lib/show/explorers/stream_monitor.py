"""Slide along a stream of messages: what its monitor saw at each moment, and what had arrived."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.show.explorers.panel import panel

Track = Sequence[tuple[int, Mapping[str, float]]]


def snapshot(
    track: Track, limits: Mapping[str, float], texts: Mapping[int, str], at: int, newest: int = 3
) -> tuple[int, list[tuple[str, float, float, bool]], list[str]]:
    """Give what was known after ``at`` messages.

    Args:
        track: ``(row of the stream, values by signal)`` at each look, in order.
        limits: the limit of each signal.
        texts: message by row of the stream.
        at: a row of the stream; the newest look up to there counts, else the first.
        newest: messages to give.

    Returns:
        The row of the look; ``(signal, value, limit, beyond)`` with the nearest to its limit
        first; and the newest messages, the last one last.
    """
    looks = [look for look in track if look[0] <= at] or [track[0]]
    row, values = looks[-1]
    signals = [(n, values[n], limits[n], values[n] > limits[n]) for n in limits]
    signals.sort(key=lambda s: -s[1] / s[2])
    return row, signals, [texts[i] for i in sorted(texts) if i <= row][-newest:]


def page(
    row: int, signals: Sequence[tuple[str, float, float, bool]], messages: Sequence[str]
) -> str:
    """Give a snapshot as HTML: a table of signals in words and figures, and the messages."""
    lines = "".join(
        f"<tr><td>{html.escape(name)}</td><td style='text-align:right'>{value / limit:.2f}</td>"
        f"<td>{'<b>ALARM</b>' if beyond else 'quiet'}</td></tr>"
        for name, value, limit, beyond in signals
    )
    said = "".join(f"<li>{html.escape(m)}</li>" for m in messages)
    return (
        f"<p>after {row} messages</p><table><tr><th>signal</th><th>share of its limit</th>"
        f"<th>state</th></tr>{lines}</table><p>newest messages:</p><ul>{said}</ul>"
    )


def stream_explorer(track: Track, limits: Mapping[str, float], texts: Mapping[int, str]) -> Any:
    """Give a widget: a slider over the stream, and what the monitor saw there.

    Args:
        track, limits, texts: as for :func:`snapshot`.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    rows = [row for row, _ in track]
    if not rows:
        return panel([widgets.HTML("<p>The monitor has not looked yet.</p>")])
    slider = widgets.SelectionSlider(
        options=rows, value=rows[0], description="message", layout=widgets.Layout(width="80%")
    )
    shown = widgets.HTML()

    def show(*_: Any) -> None:
        shown.value = page(*snapshot(track, limits, texts, slider.value))

    slider.observe(show, "value")
    show()
    return panel([slider, shown])
