"""The chat widget, the stream slider and the figures beside them, as a reader uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from course_lib.errors import DataError
from course_lib.show import assistant
from course_lib.show.explorers import chat, stream_monitor

ROUTES = {"Where is it?": ("order_status", 0.9), "hm <b>": ("payment", 0.3)}


def route(text: str) -> tuple[str, float]:
    return ROUTES.get(text, ("feedback", 0.5))


def reply(text: str, temperature: float) -> str:
    if "context" in text:
        raise DataError("the message is too long", next_step="shorten it")
    if "crash" in text:
        raise RuntimeError("out of memory")
    return f"<i>{text}</i> at {temperature:.1f}"


def turn(text: str, threshold: float = 0.5) -> chat.Turn:
    return chat.take_turn(text, route=route, reply=reply, threshold=threshold, temperature=0.7)


def test_a_turn_carries_reply_intent_and_confidence() -> None:
    found = turn("  Where is it? ")
    assert found == chat.Turn("Where is it?", "order_status", 0.9, "<i>Where is it?</i> at 0.7")
    assert turn("hm <b>").to_human and not turn("hm <b>", 0.3).to_human


def test_what_goes_wrong_is_told_and_nothing_is_sent() -> None:
    assert turn("   ").error == chat.EMPTY
    assert "the message is too long" in turn("context").error
    assert turn("crash").error == "RuntimeError: out of memory"
    assert turn("crash").intent == "feedback" and not turn("crash").reply


def test_the_conversation_shows_texts_and_never_runs_them() -> None:
    shown = chat.transcript([turn("Where is it?"), turn("hm <b>"), turn("crash"), turn("")])
    assert "&lt;i&gt;Where is it?" in shown and "<i>Where" not in shown
    assert "hm &lt;b&gt;" in shown and shown.count("send to a human") == 1
    assert "confidence 0.90, sure enough" in shown and "confidence 0.30" in shown
    assert "RuntimeError: out of memory" in shown and chat.EMPTY in shown


def widgets_of(box: Any) -> dict[str, Any]:
    """Give the parts of a widget by their description."""
    found, open_ = {}, [box]
    while open_:
        one = open_.pop()
        open_ += list(getattr(one, "children", ()))
        if name := getattr(one, "description", ""):
            found[name] = one
    return found


def test_the_widget_sends_keeps_the_text_and_rates_the_newest_reply() -> None:
    kept: list[tuple[str, str, str]] = []
    box = chat.chat_explorer(
        route=route, reply=reply, threshold=0.6, rate=lambda *rated: kept.append(rated)
    )
    parts = widgets_of(box)
    note, shown = box.children[3], box.children[4]
    parts["Good reply"].click()
    assert "no reply to rate" in note.value and not kept
    parts["message"].value, parts["temperature"].value = "hm <b>", 1.0
    parts["Send"].click()
    assert "send to a human" in shown.value and "at 1.0" in shown.value
    assert parts["message"].value == "hm <b>" and not parts["Send"].disabled
    parts["threshold"].value = 0.2
    parts["Send"].click()
    assert shown.value.count("send to a human") == 1
    parts["message"].value = "crash"
    parts["Send"].click()
    assert "out of memory" in shown.value and not parts["Send"].disabled
    parts["Poor reply"].click()
    assert kept == [("hm <b>", "<i>hm <b></i> at 1.0", "down")] and "kept: down" in note.value
    parts["Start again"].click()
    assert shown.value == ""


def test_without_ratings_there_are_no_thumbs_and_a_lost_rating_is_told() -> None:
    assert "Good reply" not in widgets_of(
        chat.chat_explorer(route=route, reply=reply, threshold=0.5)
    )

    def full(*rated: str) -> None:
        raise OSError("No space left on device")

    box = chat.chat_explorer(route=route, reply=reply, threshold=1.5, rate=full)
    parts = widgets_of(box)
    assert parts["threshold"].value == 1.0
    parts["Send"].click()
    parts["Good reply"].click()
    assert "Not kept: No space left" in box.children[3].value


TRACK = [(300, {"words": 0.5, "length": 0.2}), (305, {"words": 1.5, "length": 0.1})]
LIMITS = {"length": 0.1, "words": 1.0}
TEXTS = {i: f"message {i} <b>" for i in range(290, 310)}


def test_a_moment_of_the_stream_is_what_was_known_then() -> None:
    row, signals, messages = stream_monitor.snapshot(TRACK, LIMITS, TEXTS, 304)
    assert row == 300 and messages[-1] == "message 300 <b>" and len(messages) == 3
    assert signals == [("length", 0.2, 0.1, True), ("words", 0.5, 1.0, False)]
    assert stream_monitor.snapshot(TRACK, LIMITS, TEXTS, 1)[0] == 300
    shown = stream_monitor.page(*stream_monitor.snapshot(TRACK, LIMITS, TEXTS, 999))
    assert "after 305 messages" in shown and shown.count("ALARM") == 1
    assert "message 305 &lt;b&gt;" in shown


def test_the_slider_moves_through_the_looks() -> None:
    slider, shown = stream_monitor.stream_explorer(TRACK, LIMITS, TEXTS).children
    assert list(slider.options) == [300, 305] and "after 300" in shown.value
    slider.value = 305
    assert "after 305" in shown.value
    empty = stream_monitor.stream_explorer([], LIMITS, {})
    assert "has not looked yet" in empty.children[0].value


def test_the_figures_draw_every_signal_and_the_random_line(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("agg")
    figure = assistant.drift_lines(TRACK, LIMITS, planted=302)
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines["words"] == [0.5, 1.5] and lines["length"] == [2.0, 1.0]
    table = [{"rate": 0.0, "accuracy": 0.6}, {"rate": 0.5, "accuracy": 0.9}]
    axes = assistant.review_curve(table).axes[0]
    assert list(axes.lines[0].get_ydata()) == [0.6, 0.9]
    assert list(axes.lines[1].get_ydata()) == pytest.approx([0.6, 0.8])
    arms = {"parrot": ((1.0, 1.0, 1.0), (0.5, 0.4, 0.6)), "real": ((0.9, 0.8, 1), (0.9, 0.8, 1))}
    both = assistant.two_measures(arms, xlabel="own ticket", ylabel="topic")
    assert "parrot (1.00, 0.50)" in [t.get_text() for t in both.axes[0].texts]
    for number, one in enumerate((figure, both)):
        one.savefig(tmp_path / f"{number}.png")
