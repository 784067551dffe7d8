"""The tag highlighter and the metric playground: what is shown, and what typing does."""

from __future__ import annotations

import pytest

from course_lib.show.explorers import metric_playground as play

FOUND = [
    ("The", "O", 0.99), ("Heron", "B-PRODUCT", 0.9), ("2", "I-PRODUCT", 0.55), ("for", "O", 0.6),
    ("<May>", "B-PERSON", 0.7), (".", "O", 1.0),
]  # fmt: skip


def test_an_entity_is_framed_whole_and_as_sure_as_its_least_sure_word() -> None:
    shown = play.entity_html(FOUND)
    assert "Heron 2 <small><b>PRODUCT</b> 55%</small>" in shown
    assert "&lt;May&gt;" in shown and "<May>" not in shown
    assert (
        "2 found" in shown and "2 (I-PRODUCT 55%), for (O 60%), &lt;May&gt; (B-PERSON 70%)" in shown
    )
    assert "0 found" in play.entity_html([])


def test_scores_rise_from_nothing_to_a_hundred() -> None:
    assert set(play.scores("", "Tent pole split").values()) == {0.0}
    same = play.scores("Tent pole split, new one posted", "Tent pole split, new one posted")
    assert list(same.values()) == pytest.approx([100.0] * 4)


def test_a_word_of_the_reference_covers_one_word_of_the_text() -> None:
    found = play.shared_words("Pole, pole or peg", "a pole and a PEG.")
    assert found == [("Pole,", True), ("pole", False), ("or", False), ("peg", True)]


def test_the_table_names_whose_text_it_is_and_escapes_it() -> None:
    shown = play.score_table("a tent", {"the model": "a <b>tent</b>", "you": " "})
    assert "the model" in shown and "you" not in shown and "<b>tent" not in shown
    assert "nothing to compare" in play.score_table(" ", {"you": "a"})


def test_tags_follow_the_typing_and_a_fault_is_told() -> None:
    def tag(text: str) -> list[tuple[str, str, float]]:
        if "!" in text:
            raise ValueError("too <loud>")
        return [(w, "B-PLACE" if w == "Fennick" else "O", 0.5) for w in text.split()]

    box = play.entity_explorer(tag, "to Fennick")
    message, shown = box.children
    assert "1 found" in shown.value
    message.value = "to nowhere"
    assert "0 found" in shown.value
    message.value = "!"
    assert "too &lt;loud&gt;" in shown.value and message.value == "!"


def test_what_was_typed_comes_back_and_the_model_is_asked_once_a_text() -> None:
    asked: list[str] = []

    def write(text: str) -> str:
        asked.append(text)
        return text.upper()

    examples = {"subject": [("one", "ONE"), ("two", "zwei")], "French": [("three", "trois")]}
    box = play.metric_playground({"subject": write, "French": write}, examples)
    task, example, source, reference, yours, table = box.children
    assert (source.value, reference.value, asked) == ("one", "ONE", ["one"])
    yours.value = "mine"
    reference.value = "mine too"
    assert "mine" in table.value and asked == ["one"]
    task.value = "French"
    assert (source.value, reference.value, yours.value) == ("three", "trois", "")
    task.value = "subject"
    example.value = 1
    assert reference.value == "zwei"
    example.value = 0
    assert (reference.value, yours.value) == ("mine too", "mine")
    source.value = "other"
    assert asked == ["one", "three", "two", "other"] and "OTHER" in table.value


def test_the_menu_names_the_text_that_is_shown_in_one_line() -> None:
    examples = {"subject": [("Customer: one\nDesk: two", "ONE")], "French": [("three", "trois")]}
    box = play.metric_playground({"subject": str.upper, "French": str.upper}, examples)
    task, example = box.children[:2]
    assert example.label == "1: Customer: one Desk: two"
    task.value = "French"
    assert example.label == "1: three"


def test_where_no_kernel_runs_an_explorer_says_how_to_use_it() -> None:
    box = play.entity_explorer(lambda text: [], "Agnes")
    assert box._repr_mimebundle_()["text/plain"].startswith("[explorer: run this cell")


def test_a_model_that_fails_leaves_your_text_scored() -> None:
    def write(text: str) -> str:
        raise ValueError("an empty prompt")

    box = play.metric_playground({"reply": write}, {"reply": [("hello", "hi there")]})
    yours, table = box.children[4], box.children[5]
    yours.value = "hi"
    assert "an empty prompt" in table.value and "<u><b>hi</b></u>" in table.value


def test_each_task_has_a_panel_with_its_metric_and_every_value_printed() -> None:
    import matplotlib.pyplot as plt

    from course_lib.show import tasks

    figure = tasks.side_by_side(
        {
            "Names": ("entity F1", {"tuned": (0.8, 0.7, 0.9), "list": (0.5, 0.4, 0.6)}),
            "Replies": ("chrF", {"tuned": (18.0, 17.0, 19.0), "list": (28.0, 27.0, 29.0)}),
            "French": ("BLEU", {"tuned": (0.0, 0.0, 0.0), "list": (3.0, 1.0, 5.0)}),
        }
    )
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in shown] == ["entity F1", "chrF", "BLEU"]
    assert [t.get_text() for t in shown[1].texts] == ["18.0", "28.0"]
    assert {line.get_marker() for line in shown[0].lines} >= {"o", "s"}
    bars = tasks.entity_types([("DATE", 0.5, 0.25, 31), ("ORDER", 0.9, 0.0, 20)])
    assert [t.get_text() for t in bars.axes[0].texts] == ["0.50", "0.25", "0.90", "0.00"]
    assert [t.get_text() for t in bars.axes[0].get_yticklabels()] == ["DATE (31)", "ORDER (20)"]
    plt.close("all")
