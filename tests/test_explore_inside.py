"""The first lesson's explorer and curves, on the embedded base and a tiny one."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib import files
from course_lib.errors import DataError, ModelError
from course_lib.finetune.examine import inspect_model
from course_lib.finetune.model import load_base
from course_lib.show import first_steps
from course_lib.show.explorers import inside


@cache
def base() -> tuple[Any, Any]:
    return load_base("embedded", task="language-modeling")


def looking(model: Any, tokenizer: Any) -> Callable[[str], inside.Inside]:
    def look(text: str) -> inside.Inside:
        found = inspect_model.attention(model, tokenizer, text)
        return inspect_model.next_tokens(model, tokenizer, text), found.tokens, found.weights

    return look


def test_next_tokens_are_those_the_model_expects() -> None:
    model, tokenizer = base()
    found = inspect_model.next_tokens(model, tokenizer, "She lives in the United", count=4)
    assert found[0][0] == " States" and len(found) == 4
    probabilities = [p for _, p in found]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) < 1
    read = inspect_model.token_probabilities(model, tokenizer, "She lives in the United States")
    assert probabilities[0] == pytest.approx(read[-1].probability, rel=1e-4)


def test_next_tokens_refuse_what_has_none(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="language-modeling")
    everything = inspect_model.next_tokens(model, tokenizer, "my boots", count=10_000)
    assert len(everything) == 320 and sum(p for _, p in everything) == pytest.approx(1)
    with pytest.raises(DataError, match="an empty text"):
        inspect_model.next_tokens(model, tokenizer, " ")
    classifier, _ = load_base(str(tiny_base), task="classification", labels=["a", "b"])
    with pytest.raises(ModelError, match="no next-token probabilities"):
        inspect_model.next_tokens(classifier, tokenizer, "boots")


def test_the_last_token_looks_back_in_the_head_that_looks_back() -> None:
    found = looking(*base())("The tent was wet, so we hung it up to dry")
    looks_back = np.diagonal(found[2], -1, 2, 3).mean(-1)
    layer, head = np.unravel_index(looks_back.argmax(), looks_back.shape)
    place, share = inside.strongest(found[1], found[2][layer, head])
    assert place == len(found[1]) - 2 and share > 0.5
    view = inside.inside_view(found, int(layer) + 1, int(head) + 1)
    assert f"looks most at {html.escape(repr(found[1][place]))}: {share:.0%}" in view
    cells = view.split("<b>Attention.</b>")[1].count("<td style='background")
    assert cells == len(found[1]) * (len(found[1]) + 1) // 2, "nobody looks ahead"


def test_a_single_token_looks_at_itself() -> None:
    assert inside.strongest(["Hi"], np.ones((1, 1))) == (0, 1.0)
    view = inside.inside_view(([("!", 1.0)], ["Hi"], np.ones((1, 1, 1, 1))), 1, 1)
    assert "100% of its attention to itself." in view and "looks most at" not in view


def test_markup_in_a_text_is_shown_and_not_obeyed() -> None:
    view = inside.inside_view(looking(*base())("<script>alert(1)</script> & so on"), 1, 1)
    assert "<script>" not in view and "&amp;" in view


def test_the_likeliest_token_of_an_untrained_model_is_not_at_zero() -> None:
    found = ([(" a", 0.00013), (" b", 0.25)], ["x"], np.ones((1, 1, 1, 1)))
    view = inside.inside_view(found, 1, 1)
    assert ">0.013%<" in view and ">25.0%<" in view


@pytest.mark.parametrize("weight", np.linspace(0, 1, 21))
def test_a_share_can_be_read_on_its_shade(weight: float) -> None:
    view = inside.inside_view(([(" a", 1.0)], ["x"], np.full((1, 1, 1, 1), weight)), 1, 1)
    ink = 1.0 if f"rgba(0,114,178,{weight:.2f});color:white" in view else 0.0

    def light(channel: float) -> float:
        part = (255 - (255 - channel) * weight) / 255
        return float(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)

    paper = 0.2126 * light(0) + 0.7152 * light(114) + 0.0722 * light(178)
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.3
    # WCAG asks for 4.5; between black and white on this blue 4.3 is the most there is


def test_a_long_text_shows_its_last_tokens() -> None:
    found = looking(*base())("the tent and the boots and the rain " * 6)
    view = inside.inside_view(found, 2, 2)
    assert f"The last {inside.MOST_SHOWN} of {len(found[1])} tokens." in view
    assert view.count("scope='row'") == inside.MOST_SHOWN


def widget(models: dict[str, Callable[[str], inside.Inside]], text: str) -> Any:
    made = inside.inside_explorer(models, text=text)
    box, row, view = made.children
    return box, *row.children, view


def test_the_explorer_follows_text_model_layer_and_head(tiny_base: Path) -> None:
    tiny = load_base(str(tiny_base), task="language-modeling")
    box, which, layer, head, view = widget(
        {"base": looking(*base()), "tiny": looking(*tiny)}, "Thank you very"
    )
    assert " much" in view.value and (layer.max, head.max) == (4, 4)
    layer.value, head.value = 4, 3
    assert "In head 3 of layer 4" in view.value
    before = view.value
    which.value = "tiny"
    assert (layer.max, head.max) == (2, 2), "the other model has fewer"
    assert (layer.value, head.value) == (2, 2) and "In head 2 of layer 2" in view.value
    assert view.value != before and box.value == "Thank you very"


def test_an_error_is_told_and_the_text_stays() -> None:
    box, _, _, _, view = widget({"base": looking(*base())}, "My tent")
    box.value = "   "
    assert "an empty text" in view.value and box.value == "   "
    box.value = "boots " * 600
    assert "longer than the model" in view.value and box.value.startswith("boots boots")
    box.value = "My tent is"
    assert "Next token" in view.value


def test_models_are_asked_once_a_text() -> None:
    asked = []
    look = looking(*base())
    _, _, layer, _, _ = widget({"base": lambda t: asked.append(t) or look(t)}, "My tent")  # type: ignore[func-returns-value]
    layer.value = 2
    layer.value = 3
    assert asked == ["My tent"]


def test_curves_begin_with_the_untrained_model() -> None:
    path = files.assets_dir() / "base" / "curve.jsonl"
    history = [json.loads(line) for line in path.read_text().splitlines()]
    points = first_steps.perplexity_points(history)
    assert points[0][1] > 8000 and points[-1][1] < 50 and points == sorted(points)
    figure = first_steps.reading_curves({"base": history, "again": history[:60]})
    axes = figure.axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert {line.get_marker() for line in axes.get_lines()} == {"o", "s"}


def test_a_loss_that_is_no_number_ends_its_line() -> None:
    figure = first_steps.losses({"wild": [2.0, 40.0, float("nan")], "calm": [2.0, 1.5]}, known=2.08)
    wild, calm, line = figure.axes[0].get_lines()
    assert list(wild.get_xdata()) == [1, 2] and list(calm.get_ydata()) == [2.0, 1.5]
    assert line.get_label() == "guessing"
