"""Clean one message step by step and see what each step changed."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from course_lib.show.explorers.panel import panel

OWN = "your own text"
_OUT = "background:#fde0cf;color:#000;text-decoration:line-through"
_IN = "background:#d6ecff;color:#000;text-decoration:underline"
_BOX = "white-space:pre-wrap;border-left:3px solid #999;padding-left:.6em;margin:.2em 0 .8em 0"


class Shown(NamedTuple):
    """One step: its name, whether it changed the text, and the text with the changes marked."""

    step: str
    changed: bool
    marked: str


def visible(text: str) -> str:
    """Give ``text`` as HTML, with a sign for each character that a reader could not see."""
    signs = []
    for char in text:
        hidden = unicodedata.category(char) in ("Cc", "Cf", "Co") and char not in "\n\t"
        if hidden or char in "\u2800\u3164":
            signs.append(f"⟨U+{ord(char):04X}⟩")
        elif char == "\u00a0":
            signs.append("⟨hard space⟩")
        else:
            signs.append(html.escape(char))
    return "".join(signs)


def marked(before: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """Give ``before`` as HTML: what goes is struck through, what comes is underlined.

    Args:
        before: the text before a step.
        spans: ``(start, end, new)``: ``before[start:end]`` becomes ``new``.
    """
    parts, place = [], 0
    for start, end, new in sorted(spans):
        parts.append(visible(before[place:start]))
        if gone := before[start:end]:
            sign = visible(gone.replace("\n", "↵\n")) if gone.strip() else _blanks(gone)
            parts.append(f"<del style='{_OUT}'>{sign}</del>")
        if new:
            sign = visible(new) if new.strip() else _blanks(new)
            parts.append(f"<ins style='{_IN}'>{sign}</ins>")
        place = end
    return "".join([*parts, visible(before[place:])])


def _blanks(text: str) -> str:
    return visible(text.replace(" ", "␣").replace("\n", "↵\n").replace("\t", "⇥"))


def trace(
    text: str, steps: Sequence[str], run: Callable[[str, Sequence[str]], Iterable[Any]]
) -> tuple[list[Shown], str]:
    """Clean ``text`` and give what each step did, and the text that comes out.

    Args:
        text: one message.
        steps: names of the steps, in their order.
        run: takes the text and the steps; gives one change for each step that did something,
            with ``step``, ``before``, ``after`` and ``spans`` as for :func:`marked`.
    """
    changes = {change.step: change for change in run(text, steps)} if steps else {}
    shown = []
    for step in steps:
        change = changes.get(step)
        if change is None:
            shown.append(Shown(step, False, ""))
            continue
        shown.append(Shown(step, True, marked(change.before, change.spans)))
        text = change.after
    return shown, text


def page(
    text: str, steps: Sequence[str], run: Callable[[str, Sequence[str]], Iterable[Any]]
) -> str:
    """Give the explorer's result as HTML; what goes wrong is said in words."""
    if not text.strip():
        return "<p>The box is empty: choose a message or paste one.</p>"
    try:
        shown, after = trace(text, steps, run)
    except Exception as error:  # a learner's text may break anything; the widget must go on
        return f"<p><b>That did not work:</b> {html.escape(str(error))}</p>"
    blocks = [
        f"<b>{s.step}</b><div style='{_BOX}'>{s.marked}</div>"
        if s.changed
        else f"<p><b>{s.step}</b>: nothing to do</p>"
        for s in shown
    ]
    count = sum(s.changed for s in shown)
    end = f"<b>result, {count} of {len(steps)} steps changed something</b>"
    return "".join([*blocks, end, f"<div style='{_BOX}'>{visible(after)}</div>"])


def cleaning_explorer(
    messages: Mapping[str, str],
    steps: Sequence[str],
    run: Callable[[str, Sequence[str]], Iterable[Any]],
) -> Any:
    """Give a widget: choose or paste a message, tick steps, read what each changed.

    What is typed is kept: it comes back when ``your own text`` is chosen again.

    Args:
        messages: texts to choose from, by the name shown.
        steps: names of the steps, in the order they run; all are ticked.
        run: as for :func:`trace`.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    wide = widgets.Layout(width="95%")
    choice = widgets.Dropdown(
        options=[*messages, OWN], description="message", layout=widgets.Layout(width="60%")
    )
    start = next(iter(messages.values()), "")
    box = widgets.Textarea(value=start, description="text", rows=5, layout=wide)
    ticks = [widgets.Checkbox(value=True, description=step, indent=False) for step in steps]
    result = widgets.HTML(layout=wide)
    own = {"text": ""}

    def show(*_: Any) -> None:
        result.value = page(box.value, [t.description for t in ticks if t.value], run)

    def choose(event: Mapping[str, Any]) -> None:
        box.value = messages.get(event["new"], own["text"])

    def write(event: Mapping[str, Any]) -> None:
        if event["new"] != messages.get(choice.value):
            own["text"] = event["new"]
            choice.value = OWN
        show()

    choice.observe(choose, "value")
    box.observe(write, "value")
    for tick in ticks:
        tick.observe(show, "value")
    show()
    row = widgets.HBox(ticks, layout=widgets.Layout(flex_flow="row wrap"))
    return panel([choice, box, row, result])
