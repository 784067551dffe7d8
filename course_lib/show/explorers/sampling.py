"""Turn the knobs of generation: the next token's distribution before and after, and a text."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from course_lib.errors import CourseError, UsageError
from course_lib.show.explorers.panel import panel

NextToken = Callable[[str], tuple[np.ndarray, Sequence[int]]]
SHOWN = 12  # tokens in the table
_CELL = "style='padding:0 0.8em 0 0;text-align:left;white-space:pre'"


def filtered(
    logits: np.ndarray,
    seen: Sequence[int] = (),
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
) -> np.ndarray:
    """Give the probabilities a token is drawn from, ``[vocabulary]``, after all settings.

    In the order of ``transformers``: the penalty (Keskar et al. 2019), the temperature, top-k,
    top-p (Holtzman et al. 2020). What is struck out gets 0, the rest sums to 1.

    Args:
        logits: of the next token, ``[vocabulary]``.
        seen: ids in the text so far, for the penalty.
        temperature: divides the logits; 0 leaves the likeliest token alone.
        top_k: how many tokens are kept; 0 keeps all.
        top_p: the fewest likeliest tokens that together reach this probability are kept.
        repetition_penalty: divides the positive logits of seen tokens, multiplies the negative.

    Raises:
        UsageError: for a setting that makes no sense.
    """
    if temperature < 0 or top_k < 0 or not 0 < top_p <= 1 or repetition_penalty <= 0:
        raise UsageError(
            "these settings cannot be",
            got=f"temperature {temperature}, top_k {top_k}, top_p {top_p}, "
            f"repetition_penalty {repetition_penalty}",
            expected="temperature and top_k of 0 or more, top_p above 0 and up to 1, a penalty > 0",
        )
    scores = np.array(logits, dtype=float)
    there = np.unique(np.asarray(seen, dtype=int))
    at = scores[there]
    scores[there] = np.where(at > 0, at / repetition_penalty, at * repetition_penalty)
    if temperature == 0:
        return np.asarray(np.eye(1, len(scores), int(scores.argmax()))[0])
    scores /= temperature
    if 0 < top_k < len(scores):
        scores[scores < np.sort(scores)[-top_k]] = -np.inf
    found = np.exp(scores - scores.max())
    found /= found.sum()
    order = np.argsort(-found, kind="stable")
    before = np.cumsum(found[order]) - found[order]  # of all likelier tokens
    found[order[before >= top_p]] = 0.0
    return np.asarray(found / found.sum())


def distribution_rows(
    before: np.ndarray, after: np.ndarray, name: Callable[[int], str], shown: int = SHOWN
) -> list[tuple[str, float, float]]:
    """Give ``(token, probability before, after)`` of the tokens likeliest before.

    Args:
        before, after: probabilities, ``[vocabulary]``.
        name: what a token id stands for.
        shown: how many tokens.
    """
    order = np.argsort(-before, kind="stable")[:shown]
    return [(name(int(i)), float(before[i]), float(after[i])) for i in order]


def sampling_explorer(
    next_token: NextToken,
    name: Callable[[int], str],
    write: Callable[..., str],
    *,
    prompt: str = "",
) -> Any:
    """Give a widget: a prompt, sliders for the settings, the distribution and a continuation.

    The table follows every slider; the text is written on *Write* or Enter in the prompt.

    Args:
        next_token: text to ``(logits, ids of the text)``.
        name: what a token id stands for.
        write: ``write(prompt, temperature=..., top_k=..., top_p=..., repetition_penalty=...,
            seed=...)`` gives the continuation.
        prompt: to begin with.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    box = widgets.Text(value=prompt, description="prompt", continuous_update=False,
                       layout=widgets.Layout(width="95%"))  # fmt: skip
    sliders = _sliders(widgets)
    button = widgets.Button(description="Write", button_style="primary")
    table, text = widgets.HTML(), widgets.HTML()

    def settings() -> dict[str, Any]:
        return {key: slider.value for key, slider in sliders.items()}

    def show(*_: Any) -> None:
        table.value = _told(lambda: _table(next_token, name, box.value, settings()))

    def compose(*_: Any) -> None:
        button.disabled = True
        try:
            text.value = _told(lambda: _text(box.value, write(box.value, **settings())))
        finally:
            button.disabled = False

    for control in (box, *sliders.values()):
        control.observe(show, "value")
    box.observe(compose, "value")
    button.on_click(compose)
    show()
    knobs = widgets.VBox([*sliders.values(), button])
    return panel([box, widgets.HBox([knobs, table]), text])


def _sliders(widgets: Any) -> dict[str, Any]:
    """Make one slider a setting, named as ``complete`` calls it."""
    wide = {"description_width": "9em"}
    common = {"continuous_update": False, "style": wide}
    number, whole = widgets.FloatSlider, widgets.IntSlider
    return {
        "temperature": number(1.0, min=0, max=2, step=0.1, description="temperature", **common),
        "top_k": whole(0, min=0, max=100, description="top-k (0: all)", **common),
        "top_p": number(1.0, min=0.05, max=1, step=0.05, description="top-p", **common),
        "repetition_penalty": number(
            1.0, min=1, max=2, step=0.05, description="repetition penalty", **common
        ),
        "seed": whole(0, min=0, max=50, description="seed", **common),
    }


def _told(work: Callable[[], str]) -> str:
    """Give what ``work`` gives, or its error as text."""
    try:
        return work()
    except CourseError as error:
        return f"<p role='alert'>{html.escape(str(error))}</p>"


def _table(
    next_token: NextToken, name: Callable[[int], str], prompt: str, settings: dict[str, Any]
) -> str:
    """Give the distribution before and after the settings as an HTML table."""
    logits, seen = next_token(prompt)
    before = filtered(logits)
    knobs = {key: value for key, value in settings.items() if key != "seed"}
    after = filtered(logits, seen, **knobs)
    lines = "".join(
        f"<tr><td {_CELL}>{html.escape(repr(token))}</td><td {_CELL}>{_bar(b)}</td>"
        f"<td {_CELL}>{_bar(a) if a else 'struck out'}</td></tr>"
        for token, b, a in distribution_rows(before, after, name)
    )
    head = "".join(f"<th {_CELL}>{h}</th>" for h in ("next token", "before", "after"))
    left = f"<p>{int((after > 0).sum()):,} of {len(after):,} tokens can still be drawn.</p>"
    return f"<table><tr>{head}</tr>{lines}</table>{left}"


def _bar(share: float) -> str:
    return f"{100 * share:5.1f}% " + "█" * round(20 * share)


def _text(prompt: str, more: str) -> str:
    return (
        f"<p style='white-space:pre-wrap;max-width:60em'>{html.escape(prompt)} "
        f"<b>{html.escape(more)}</b></p>"
    )
