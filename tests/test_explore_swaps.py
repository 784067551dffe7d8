"""Swaps, the clinic's widget, and the views of a run under way."""

from __future__ import annotations

import copy
import html
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course_lib.errors import UsageError
from course_lib.finetune.casebook import judge, reveal
from course_lib.finetune.examine import fairness, weights
from course_lib.finetune.model import load_base
from course_lib.show import monitor
from course_lib.show.explorers import clinic, swaps

TEXTS = {"one": "He wants his boots <today>.", "two": "The manual is in the shed."}
LABELS = ("high", "low")
PROBES = {
    name: lambda text, p=fairness.PROBES[name]: fairness.versions(text, p)
    for name in ("gender", "region")
}


def heard(texts: Sequence[str]) -> np.ndarray:
    """A classifier that listens to one word."""
    sure = np.array([0.8 if "she" in t.lower().split() else 0.3 for t in texts])
    return np.stack([sure, 1 - sure], 1)


def test_a_swap_tells_what_moved_and_whether_the_verdict_changes() -> None:
    (found,) = swaps.swaps(TEXTS["one"], PROBES["gender"](TEXTS["one"]), heard, LABELS)
    assert found.right == "She wants her boots <today>."
    assert found.flips and found.moved == pytest.approx(0.5)
    shown = swaps.swaps_html([found])
    assert "<b>She</b>" in shown and "<b>He</b>" in shown and "<b>changes</b>" in shown
    assert "&lt;today&gt;" in shown and "<today>" not in shown, "a message is text, not HTML"
    assert "+0.50" in shown and "50.0%" in shown


def test_own_words_are_swapped_whole_in_any_case() -> None:
    assert swaps.own_swap("Ann's mum, ANN", "ann", "Bo")[0][1] == "Bo's mum, Bo"
    assert swaps.own_swap("a (b) c", "(b)", r"\1")[0][1] == r"a \1 c"
    with pytest.raises(UsageError, match="does not hold"):
        swaps.own_swap("banana", "ana", "x")
    with pytest.raises(UsageError, match="both words"):
        swaps.own_swap("banana", "banana", " ")


def test_nothing_to_score_is_said_in_words() -> None:
    with pytest.raises(UsageError, match="none of the words"):
        swaps.swaps(TEXTS["two"], PROBES["gender"](TEXTS["two"]), heard, LABELS)
    with pytest.raises(UsageError, match="type a message"):
        swaps.swaps("  ", [("a", "b")], heard, LABELS)


def test_the_explorer_keeps_typed_text_and_shows_errors_as_text() -> None:
    box = swaps.swap_explorer(TEXTS, PROBES, heard, LABELS)
    ticket, text, swap, own, answer = box.children
    assert "She" in answer.value
    text.value = "She is waiting. <b>"
    assert "He" in answer.value and "&lt;b&gt;" in answer.value
    swap.value = "region"
    assert text.value == "She is waiting. <b>" and "Lagos" in answer.value
    first, second = list(TEXTS)[:2]
    ticket.value = second
    assert text.value == TEXTS[second]
    ticket.value = first
    assert text.value == "She is waiting. <b>"
    swap.value = swaps.OWN
    assert "both words" in answer.value
    own.children[0].value, own.children[1].value = "waiting", "asleep"
    assert "<b>asleep.</b>" in answer.value and text.value == "She is waiting. <b>"
    ticket.value, swap.value = "two", "gender"
    assert text.value == TEXTS["two"] and "none of the words" in answer.value


def test_the_clinic_counts_first_guesses_and_keeps_each_case_its_own() -> None:
    cases = {"A": "Case A. <odd>", "B": "Case B."}
    names = ["label shift", "leaked test set", "learning rate too high"]
    box = clinic.clinic_explorer(cases, names, judge, lambda c, g: reveal(c).name == g)
    case, evidence, guess, verdict, score = box.children
    assert "&lt;odd&gt;" in evidence.value and not verdict.value
    guess.value = "label shift"
    assert "Not label shift. It is leaked test set" in html.unescape(verdict.value)
    guess.value = "leaked test set"
    assert "Right: leaked test set" in verdict.value
    assert "0 of 1 right at the first guess, 1 still to see" in score.value
    case.value = "B"
    assert guess.value == clinic.UNDECIDED and not verdict.value
    guess.value = "learning rate too high"
    assert "1 of 2 right at the first guess" in score.value and "still" not in score.value
    case.value = "A"
    assert guess.value == "leaked test set" and "Right" in verdict.value


def test_moved_weights_are_told_by_part() -> None:
    model, _ = load_base("embedded", task="classification", labels=["a", "b"], seed=0)
    after = copy.deepcopy(model)
    with torch.no_grad():
        after.score.weight += 0.5
        after.model.layers[1].mlp.up_proj.weight *= 2
    moved = weights.changes(model, after)
    assert list(moved) == ["embeddings", "layer 1", "layer 2", "layer 3", "layer 4", "rest", "head"]
    assert sum(map(len, moved.values())) == sum(p.numel() for p in model.parameters())
    assert moved["head"] == pytest.approx(0.5, abs=1e-6)
    relative = {part: change for part, _, change in weights.table(model, after)}
    assert relative["layer 1"] == relative["embeddings"] == 0
    assert 0 < relative["layer 2"] < 1 and relative["head"] > relative["layer 2"]
    other, _ = load_base("embedded", task="classification", labels=["a", "b", "c"], seed=0)
    with pytest.raises(UsageError, match="same parameters"):
        weights.changes(model, other)


def test_the_views_draw_what_they_are_given() -> None:
    good = [{"step": s, "loss": 2.0 / s, "grad_norm": 1.0} for s in (1, 2, 3)]
    bad = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}]
    figure = monitor.signals([*good, {"step": 3, "validation_loss": 1.0}])
    upper, lower = figure.axes
    assert len(upper.lines) == 2 and len(lower.lines) == 1
    figure = monitor.ward({"A": (bad, good), "B": (good, good), "C": (good, good)})
    assert len(figure.axes) == 3
    drawn = figure.axes[0].lines[0].get_ydata()
    assert np.isfinite(drawn).all() and drawn[1] == monitor.CEILING
    figure = monitor.histograms({"still": np.zeros(9), "moved": np.ones(9)}, xlabel="x")
    assert len(figure.axes[0].lines) == 2
    plt.close("all")
