"""The span explorer, the pictures and figures behind an answer, and passages made shorter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from course_lib.errors import UsageError
from course_lib.finetune import baselines, compare, data, evaluate, prepare
from course_lib.finetune.examine import answers
from course_lib.finetune.model import load_base
from course_lib.finetune.records import Example
from course_lib.finetune.tasks import passages
from course_lib.show import spans as pictures
from course_lib.show.explorers import spans

TEXT = "Orders leave at 4 pm. A back order waits 21 days.\n\nExpress costs £8.95, if it is early."
WAIT = Example("w", TEXT, question="How long does a back order wait?", answers=("21 days",),
               answer_starts=(41,), group="p")  # fmt: skip
WHO = Example("u", TEXT, question="Who packs the orders?", group="p")
ROWS = [WAIT, WHO, dataclasses.replace(WAIT, id="o", text="Gloves: two pairs.", answers=())]


def test_sentences_are_cut_and_answers_keep_their_place() -> None:
    assert [TEXT[a:b] for a, b in passages.sentences(TEXT)][1] == "A back order waits 21 days."
    for row in (passages.answer_sentence(WAIT), passages.nearest_sentence(WAIT)):
        start = row.answer_starts[0]
        assert row.text == "A back order waits 21 days."
        assert row.text[start : start + 7] == row.answers[0]
    wide = dataclasses.replace(WAIT, answers=("4 pm. A back",), answer_starts=(16,))
    assert passages.answer_sentence(wide).text == TEXT[:49]
    lost = passages.first_words(WAIT, 5)
    assert lost.text == "Orders leave at 4 pm." and lost.answers == ()
    assert passages.nearest_sentence(WHO).text == "Orders leave at 4 pm."


def test_shortened_questions_load_as_a_data_set(tmp_path: Path) -> None:
    whole = data.load("question-answering", "handbook_qa")
    parts = {n: [passages.answer_sentence(r) for r in getattr(whole, n)]
             for n in ("train", "validation", "test")}  # fmt: skip
    again = data.load("question-answering", str(passages.write_questions(tmp_path / "s", parts)))
    assert list(again.test) == parts["test"] and len(again.train) == len(whole.train)
    kept = [(r.answers[:1], s.answers[:1]) for r, s in zip(whole.test, again.test, strict=True)]
    assert all(before == after for before, after in kept)


def test_the_mask_can_be_taken_off() -> None:
    _, tokenizer = load_base("embedded", task="question-answering")
    masked = prepare.question_answering([WAIT, WHO], tokenizer, 512)
    open_ = prepare.unmasked(masked)
    counted = masked.labels != -100
    assert 0 < counted.sum() < len(masked.ids) and (open_.labels == masked.ids).all()
    assert (open_.labels[counted] == masked.labels[counted]).all()


def test_views_agree_with_the_evaluation_and_sum_to_one() -> None:
    model, tokenizer = load_base("embedded", task="question-answering-span", seed=3)
    rows = [WAIT, WHO, dataclasses.replace(WAIT, id="e", text="")]
    views = answers.span_views(model, tokenizer, rows)
    found = evaluate.question_answering_span(model, tokenizer, rows).predictions
    said = answers.apply_threshold([v.answer for v in views], [v.lead for v in views], -1e-12)
    assert said == [p["prediction"] for p in found]
    assert [w for w, _, _ in views[0].words] == TEXT.split() and views[2].words == ()
    for column in (1, 2):
        inside = views[0].none[column - 1] + sum(w[column] for w in views[0].words)
        assert 0 < inside < 1  # the question's tokens have the rest
    assert views[0].answer in TEXT and views[0].answer


def test_a_threshold_trades_answers_for_silence() -> None:
    gold = [("k",), ("b",), (), ()]
    said, leads = ["k", "x", "y", "z"], [3.0, 1.0, 0.5, -2.0]
    found = answers.cuts(said, leads, gold)
    assert [c.answered for c in found] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert found[0].f1 == 0.25 and found[-1].f1 == 0.5 and found[2].f1 == 0.75
    best = answers.best_cut(found)
    assert best.f1 == 0.75 and best.answered == 0.5  # of two equals the one that answers more
    assert (best.f1_answerable, best.f1_unanswerable) == (0.5, 1.0)
    assert np.isnan(answers.cut_at(["a"], [1.0], [("a",)], 0.0).f1_unanswerable)
    with pytest.raises(UsageError, match="no answers"):
        answers.cuts([], [], [])
    with pytest.raises(UsageError, match="unknown measure"):
        answers.best_cut(found, "recall")


def test_the_baselines_pair_up_with_a_model_row_by_row() -> None:
    found = baselines.question_evaluations([WAIT, WHO])
    assert {n: dict(e.metrics) for n, e in found.items()} == baselines.question_baselines(
        [WAIT, WHO]
    )
    pair = compare.compare_runs(found["lexical_overlap"], found["always_empty"])
    assert pair.rows == 2 and pair.second == 0.5 and pair.difference.mean == pair.first - 0.5


def test_questions_are_sorted_by_their_word() -> None:
    asked = {"How much is it?": "how much", "By how far?": "how much", "How so?": "how",
             "In which town?": "which", "Name it.": "other"}  # fmt: skip
    for question, kind in asked.items():
        assert answers.kind_of(dataclasses.replace(WAIT, question=question)) == kind
    assert answers.kind_of(WHO) == "unanswerable"


def test_marking_and_judging() -> None:
    assert spans.marked_text(TEXT, 10, 11) == "21 days."
    assert spans.marked_text(TEXT, 5, 4) == spans.marked_text(TEXT, 1, 99) == ""
    assert spans.judge("the 21 days!", WAIT)["exact_match"] == 1.0
    assert spans.judge("20 days", WAIT) == {"exact_match": 0.0, "f1": 0.5, "in_passage": 0.0}
    assert spans.judge("", WHO)["f1"] == 1.0 and spans.judge("4 pm", WHO)["f1"] == 0.0
    assert "<br><br>Express" in spans.passage_view(TEXT, 1, 2) and "<sup>10</sup>" in (
        spans.passage_view(TEXT, 1, 2)
    )


def test_the_explorer_plays() -> None:
    def broken(row: Example) -> str:
        raise ValueError("out of <words>")

    looks = {"span head": lambda row: ([("21", 0.7, 0.1), ("days", 0.0, 0.8)], (0.1, 0.1))}
    box = spans.span_explorer(ROWS, {"echo": lambda row: "4 pm", "bad": broken}, looks)
    passage, question, text, first, last, typed, mine, reveal, verdict = box.children
    assert len(passage.options) == 2 and len(question.options) == 2 and first.max == 18
    last.value, first.value = 11, 10
    assert "21 days." in verdict.value and "Accepted" not in verdict.value
    reveal.value = "yes"
    assert "echo" in verdict.value and "out of &lt;words&gt;" in verdict.value
    assert verdict.value.count("<tr>") == 3  # the heading, you, echo
    reveal.value = "yes, and span head"
    assert "s70" in verdict.value and "e80" in verdict.value
    first.value = 12
    assert "nothing is marked" in verdict.value
    typed.value = "three weeks"
    assert mine.value == spans.TYPED and "three weeks" in verdict.value
    question.value = WHO
    assert typed.value == "three weeks" and "(none: the passage does not say)" in verdict.value
    passage.value = "Gloves: two pairs."
    assert first.max == 3 and typed.value == "three weeks" and "Gloves" in text.value
    mine.value = spans.SILENT
    assert "<i>(nothing)</i>" in verdict.value
    assert "no question" in spans.span_explorer([], {}).children[-1].value


def test_pictures() -> None:
    import matplotlib.pyplot as plt

    figure = pictures.word_probabilities([("£5", 0.6, 0.05), ("code", 0.0, 0.5)], (0.2, 0.3))
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["(no answer)", "£5", "code"]
    assert sorted(t.get_text() for t in axes.texts) == [".20", ".30", ".50", ".60"]
    figure = pictures.thresholds([(0, 0.4, 0.1, 0.3), (1, 0.2, 0.9, 0.35)], {"best F1": 0.5})
    assert len(figure.axes[0].lines) == 4
    plt.close("all")
