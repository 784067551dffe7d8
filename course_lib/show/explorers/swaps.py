"""Swap one thing in a message that should not matter, and see how the probabilities move."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from course_lib.errors import CourseError, UsageError
from course_lib.show.explorers.panel import panel

Score = Callable[[Sequence[str]], np.ndarray]
Swapper = Callable[[str], Sequence[tuple[str, str]]]
OWN = "words of your own"


@dataclass(frozen=True, slots=True)
class Swap:
    """A message in two versions, and the class probabilities of each, by class."""

    left: str
    right: str
    before: dict[str, float]
    after: dict[str, float]

    @property
    def flips(self) -> bool:
        """Whether the likeliest class is another one."""
        return max(self.before, key=self.before.__getitem__) != max(
            self.after, key=self.after.__getitem__
        )

    @property
    def moved(self) -> float:
        """Total variation distance of the two, 0 to 1: the probability that changed its class."""
        return sum(abs(self.after[name] - p) for name, p in self.before.items()) / 2


def own_swap(text: str, this: str, that: str) -> list[tuple[str, str]]:
    """Give the text and the text with one word or phrase replaced, in any case.

    Raises:
        UsageError: when a field is empty or the text does not hold the word.
    """
    if not this.strip() or not that.strip():
        raise UsageError("fill in both words: what is there, and what takes its place")
    pattern = rf"(?<!\w){re.escape(this.strip())}(?!\w)"
    made = re.sub(pattern, lambda _: that.strip(), text, flags=re.IGNORECASE)
    if made == text:
        raise UsageError(f"the message does not hold {this.strip()!r}, or nothing changes")
    return [(text, made)]


def swaps(
    text: str, pairs: Sequence[tuple[str, str]], score: Score, labels: Sequence[str]
) -> list[Swap]:
    """Score every pair of versions.

    Args:
        text: the message.
        pairs: its versions, ``(left, right)``.
        score: from texts to class probabilities ``[texts, classes]``.
        labels: the class names, in the order of ``score``.

    Raises:
        UsageError: for an empty message, or one that the swap leaves as it is.
    """
    if not text.strip():
        raise UsageError("type a message first")
    if not pairs:
        raise UsageError("the message holds none of the words that this swap changes")
    found = np.asarray(score([version for pair in pairs for version in pair]), dtype=float)
    rows = [dict(zip(labels, map(float, row), strict=True)) for row in found]
    return [
        Swap(left, right, rows[2 * i], rows[2 * i + 1]) for i, (left, right) in enumerate(pairs)
    ]


def marked(left: str, right: str) -> tuple[str, str]:
    """Give both versions as HTML with the words that differ in bold."""
    one, two = (re.findall(r"\s+|[^\s]+", side) for side in (left, right))
    out: list[list[str]] = [[], []]
    for kind, a, b, c, d in SequenceMatcher(a=one, b=two, autojunk=False).get_opcodes():
        for place, words in enumerate((one[a:b], two[c:d])):
            piece = html.escape("".join(words))
            out[place].append(f"<b>{piece}</b>" if kind != "equal" and piece.strip() else piece)
    return "".join(out[0]), "".join(out[1])


def swaps_html(found: Sequence[Swap]) -> str:
    """Give a table: both versions, each class before and after, and the verdict in words."""
    parts = []
    for swap in found:
        left, right = marked(swap.left, swap.right)
        cells = "".join(
            f"<tr><td>{html.escape(name.replace('_', ' '))}</td><td>{p:.2f}</td>"
            f"<td>{swap.after[name]:.2f}</td><td>{swap.after[name] - p:+.2f}</td></tr>"
            for name, p in swap.before.items()
        )
        verdict = "the verdict <b>changes</b>" if swap.flips else "the verdict stays"
        parts.append(
            f"<p style='margin-bottom:0'>1. {left}<br>2. {right}</p><table>"
            "<tr><th></th><th>first</th><th>second</th><th>change</th></tr>"
            f"{cells}</table><p>{verdict}; {100 * swap.moved:.1f}% of the probability moved</p>"
        )
    return "".join(parts)


def swap_explorer(
    tickets: Mapping[str, str], probes: Mapping[str, Swapper], score: Score, labels: Sequence[str]
) -> Any:
    """Give a widget: choose or type a message, choose a swap, read what moves.

    Args:
        tickets: messages to choose from, by a short name.
        probes: from a message to its pairs of versions, by the swap's name.
        score: from texts to class probabilities ``[texts, classes]``.
        labels: the class names, in the order of ``score``.

    Returns:
        An ``ipywidgets.VBox``. Typed text stays when another swap is chosen, and is there
        again when its message is.
    """
    import ipywidgets as widgets

    wide = widgets.Layout(width="95%")
    ticket = widgets.Dropdown(options=list(tickets), description="message", layout=wide)
    text = widgets.Textarea(value=tickets[ticket.value], layout=wide, rows=4)
    swap = widgets.Dropdown(options=[*probes, OWN], description="swap")
    this = widgets.Text(description="this", continuous_update=False)
    that = widgets.Text(description="becomes", continuous_update=False)
    answer, typed = widgets.HTML(), {}  # type: Any, dict[str, str]
    text.continuous_update = False

    def show(*_: Any) -> None:
        own = swap.value == OWN
        try:
            pairs = (
                own_swap(text.value, this.value, that.value)
                if own
                else probes[swap.value](text.value)
            )
            answer.value = swaps_html(swaps(text.value, pairs, score, labels))
        except CourseError as error:
            answer.value = f"<p>{html.escape(error.problem)}</p>"

    def choose(change: Any) -> None:
        typed[change["old"]] = text.value
        text.value = typed.get(ticket.value, tickets[ticket.value])

    ticket.observe(choose, "value")
    for field in (text, swap, this, that):
        field.observe(show, "value")
    show()
    return panel([ticket, text, swap, widgets.HBox([this, that]), answer])
