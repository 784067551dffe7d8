"""Chat with an assistant: its reply, the router's intent and how sure it is, or a person's turn."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.errors import CourseError
from course_lib.show.explorers.panel import panel

Route = Callable[[str], tuple[str, float]]
Reply = Callable[[str, float], str]
Rate = Callable[[str, str, str], object]
EMPTY = "Type a message first."


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and what came back.

    Attributes:
        text: what the customer wrote.
        intent, confidence: the router's verdict, 0 to 1.
        reply: what the assistant would send; "" when something went wrong.
        to_human: the confidence lies below the threshold, so a person reads it first.
        error: what went wrong, else "".
    """

    text: str
    intent: str = ""
    confidence: float = 0.0
    reply: str = ""
    to_human: bool = False
    error: str = ""


def take_turn(
    text: str, *, route: Route, reply: Reply, threshold: float, temperature: float
) -> Turn:
    """Answer one message; an error of the models comes back as text.

    Args:
        text: the message.
        route: gives intent and confidence.
        reply: gives a reply for a text and a temperature.
        threshold: confidence from which no person has to look.
        temperature: of the reply; 0 takes the likeliest token each time.
    """
    text = text.strip()
    if not text:
        return Turn("", error=EMPTY)
    intent, confidence = "", 0.0
    try:
        intent, confidence = route(text)
        written = reply(text, temperature)
    except CourseError as error:
        return Turn(text, intent, confidence, error=str(error))
    except Exception as error:  # whatever a model raises is told, not raised
        return Turn(text, intent, confidence, error=f"{type(error).__name__}: {error}")
    return Turn(text, intent, float(confidence), written, confidence < threshold)


def transcript(turns: Sequence[Turn]) -> str:
    """Give the conversation as HTML, oldest message first, every text escaped."""
    return "".join(_shown(turn) for turn in turns)


def _shown(turn: Turn) -> str:
    said = f"<p><b>Customer:</b> {html.escape(turn.text)}</p>" if turn.text else ""
    if turn.error:
        return f"{said}<p role='alert'><b>Not answered:</b> {html.escape(turn.error)}</p>"
    mark = "below the threshold: <b>send to a human</b>" if turn.to_human else "sure enough"
    return (
        f"{said}<p><b>Assistant:</b> {html.escape(turn.reply) or '<i>(nothing)</i>'}</p>"
        f"<p>Router: {html.escape(turn.intent.replace('_', ' '))}, "
        f"confidence {turn.confidence:.2f}, {mark}</p><hr>"
    )


def chat_explorer(*, route: Route, reply: Reply, threshold: float, rate: Rate | None = None) -> Any:
    """Give a widget: write as a customer, read what the assistant makes of it.

    The text stays in the box after sending, to be changed and sent again.

    Args:
        route, reply: as for :func:`take_turn`.
        threshold: where the slider for it starts.
        rate: gets message, reply and ``"up"`` or ``"down"``; without it no thumbs are shown.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    wide = widgets.Layout(width="95%")
    box = widgets.Textarea(
        value="Where is my parcel? It was due on Monday.",
        description="message",
        layout=wide,
        continuous_update=True,
    )
    heat = widgets.FloatSlider(
        value=0.0, max=1.5, step=0.1, description="temperature", style={"description_width": "7em"}
    )
    limit = widgets.FloatSlider(
        value=round(min(max(threshold, 0.0), 1.0), 2), max=1.0, step=0.01, description="threshold"
    )
    send = widgets.Button(description="Send", tooltip="send the message to the assistant")
    clear = widgets.Button(description="Start again", tooltip="empty the conversation")
    shown, note = widgets.HTML(layout=wide), widgets.HTML()
    turns: list[Turn] = []

    def on_send(*_: Any) -> None:
        send.disabled, note.value = True, "writing …"
        asked = {"threshold": limit.value, "temperature": heat.value}
        turns.append(take_turn(box.value, route=route, reply=reply, **asked))
        shown.value, note.value, send.disabled = transcript(turns), "", False

    def on_clear(*_: Any) -> None:
        turns.clear()
        shown.value = note.value = ""

    send.on_click(on_send)
    clear.on_click(on_clear)
    buttons = [send, *_thumbs(turns, rate, note), clear]
    rows = [box, widgets.HBox([heat, limit]), widgets.HBox(buttons), note, shown]
    return panel(rows)


def _thumbs(turns: Sequence[Turn], rate: Rate | None, note: Any) -> list[Any]:
    """Give the two buttons that rate the newest reply, or none."""
    import ipywidgets as widgets

    if rate is None:
        return []

    def button(name: str, verdict: str) -> Any:
        def on_click(*_: Any) -> None:
            rated = [t for t in turns if not t.error]
            if not rated:
                note.value = "There is no reply to rate yet."
                return
            try:
                rate(rated[-1].text, rated[-1].reply, verdict)
                note.value = f"Your rating of the newest reply is kept: {verdict}."
            except (CourseError, OSError) as error:
                note.value = f"Not kept: {html.escape(str(error))}"

        made = widgets.Button(description=name, tooltip=f"rate the newest reply: {verdict}")
        made.on_click(on_click)
        return made

    return [button("Good reply", "up"), button("Poor reply", "down")]
