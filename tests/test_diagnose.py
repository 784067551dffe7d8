"""Intervals, slices, confusions, clusters and learning curves on the shop's own tickets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from word_counter import intents

from course_lib import metrics
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.examine import diagnose, slices
from course_lib.show import diagnosis


def test_intervals_agree_with_the_metrics_room() -> None:
    rows = intents().test
    expected = metrics.classification([r["gold"] for r in rows], [r["prediction"] for r in rows])
    found = diagnose.interval(rows)
    assert found.value == pytest.approx(expected["accuracy"])
    assert [found.low, found.high] == pytest.approx(expected["accuracy_interval"])
    assert found.rows == 200
    f1 = diagnose.interval(rows, "f1_macro")
    assert f1.value == pytest.approx(expected["f1_macro"])
    assert f1.low < f1.value < f1.high


def test_rows_that_are_all_right_do_not_prove_perfection() -> None:
    right = [r for r in intents().test if r["gold"] == r["prediction"]][:10]
    found = diagnose.interval(right)
    assert (found.value, found.high, found.rows) == (1.0, 1.0, 10)
    assert found.low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)  # Wilson, all right


def test_any_function_is_a_metric_and_draws_without_a_value_are_left_out() -> None:
    rows = intents().test[:40]

    def recall(part: list[dict[str, str]]) -> float:
        found = [r["prediction"] == r["gold"] for r in part if r["gold"] == "payment"]
        return sum(found) / len(found) if found else math.nan

    found = diagnose.interval(rows, recall)
    assert 0 <= found.low <= found.value <= found.high <= 1
    with pytest.raises(DataError, match="the metric is undefined on these rows"):
        diagnose.interval(rows, lambda part: math.nan)


def test_slices_cover_all_rows_and_the_weighted_mean_is_the_whole() -> None:
    rows = intents().test
    whole = diagnose.interval(rows).value
    for by in ("channel", slices.by_length(), lambda row: "LO-" in row["text"]):
        found = slices.slices(rows, by)
        assert sum(s.figure.rows for s in found) == 200
        mean = sum(s.figure.value * s.figure.rows for s in found) / 200
        assert mean == pytest.approx(whole)
        assert [s.figure.value for s in found] == sorted(s.figure.value for s in found)
        for s in found:
            others = 200 - s.figure.rows
            total = s.figure.value * s.figure.rows + s.rest * others
            assert total == pytest.approx(whole * 200)


def test_slices_by_length_and_words() -> None:
    rows = intents().test
    groups = slices.group(rows, slices.by_length((20, 40)))
    assert set(groups) == {"under 20 words", "20 to 39 words", "40 words or more"}
    assert all(len(r["text"].split()) < 20 for r in groups["under 20 words"])
    by = slices.by_words({"polite": ["please", "thank you"], "money": ["£", "refund"]})
    found = slices.group(rows, by)
    assert {"polite", "money", "none of these"} == set(found)
    assert all("please" in r["text"].lower() or "thank you" in r["text"].lower()
               for r in found["polite"])  # fmt: skip
    with pytest.raises(UsageError, match=r"must rise; got \[30, 15\]"):
        slices.by_length((30, 15))
    with pytest.raises(DataError, match="the word list 'slang' is empty"):
        slices.by_words({"slang": []})


def test_slices_by_language_on_phrases_of_two_languages() -> None:
    pairs = list(slices.columns_of("phrases_en_fr").values())[:150]
    by = slices.by_language("en", "fr")
    rows = [{"text": p[side]} for side in ("en", "fr") for p in pairs]
    right = [by(r) == ("en" if i < len(pairs) else "fr") for i, r in enumerate(rows)]
    assert np.mean(right) > 0.9
    with pytest.raises(UsageError, match="a language it does not know; got klingon"):
        slices.by_language("en", "klingon")


def test_empty_groups_unknown_columns_and_lonely_classes_are_named() -> None:
    rows = intents().test
    with pytest.raises(UnknownNameError, match=r"'chanel'\.\n.*did you mean 'channel'"):
        slices.slices(rows, "chanel")
    with pytest.raises(DataError, match="the group 'fax' is empty; got chat"):
        slices.slices(rows, "channel", names=["email", "fax"])
    with pytest.raises(DataError, match="the slice 'account': macro F1 says nothing"):
        slices.slices(rows, "intent", metric="f1_macro")
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        diagnose.interval(rows, "acuracy")
    with pytest.raises(DataError, match="there are no rows to measure"):
        diagnose.interval([])
    with pytest.raises(UnknownNameError, match=r"unknown column .*'prediction'"):
        diagnose.interval([{"gold": "a"}])


def test_rows_are_joined_by_id(tmp_path: Path) -> None:
    columns = slices.columns_of("support_tickets")
    assert len(columns) == 1600
    row = {"id": "test-0001", "gold": "order_status", "prediction": "payment"}
    joined = slices.join([row], columns)[0]
    assert joined["channel"] == "email" and joined["prediction"] == "payment"
    with pytest.raises(DataError, match="row test-9999: a prediction without its data row"):
        slices.join([{**row, "id": "test-9999"}], columns)
    twice = tmp_path / "rows.jsonl"
    twice.write_text((json.dumps({"id": "7", "text": "a", "label": "b"}) + "\n") * 2)
    with pytest.raises(DataError, match=r"rows\.jsonl:2: an id twice; got '7'"):
        slices.columns_of(str(twice))


def test_confusions_count_the_wrong_rows_and_lead_to_them() -> None:
    rows = intents().test
    cells = diagnose.confusions(rows)
    assert sum(c.rows for c in cells) == sum(r["gold"] != r["prediction"] for r in rows)
    first = cells[0]
    behind = diagnose.behind(rows, first.gold, first.prediction)
    assert len(behind) == first.rows == max(c.rows for c in cells)
    sure = [r["probabilities"][first.prediction] for r in behind]
    assert sure == sorted(sure, reverse=True)
    assert first.share == pytest.approx(first.rows / 25)
    with pytest.raises(UnknownNameError, match="did you mean 'payment'"):
        diagnose.behind(rows, "paymet", "account")


@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_error_clusters_hold_errors_only_once(method: str) -> None:
    rows = intents().test
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8)) * 10
    features = centres[np.arange(200) % 3] + rng.normal(size=(200, 8)) * 0.01
    found = diagnose.error_clusters(rows, 3, features=features, method=method)
    assert len(found) == 3
    for cluster in found:  # texts whose vectors lie together come together
        places = {rows.index(r) % 3 for r in cluster.rows}
        assert len(places) == 1 and len(cluster.words) == 8
    ids = [r["id"] for c in found for r in c.rows]
    wrong = [r["id"] for r in rows if r["gold"] != r["prediction"]]
    assert sorted(ids) == sorted(wrong)


def test_error_clusters_by_words_and_what_they_refuse() -> None:
    rows = intents().test
    found = diagnose.error_clusters(rows, 4)
    assert found == diagnose.error_clusters(rows, 4)
    for cluster in found:
        texts = " ".join(r["text"].lower() for r in cluster.rows)
        assert cluster.words[0] in texts
    right = [r for r in rows if r["gold"] == r["prediction"]]
    with pytest.raises(DataError, match=r"too few errors .* got 0 wrong rows for 5 clusters"):
        diagnose.error_clusters(right)
    with pytest.raises(UnknownNameError, match="did you mean 'kmeans'"):
        diagnose.error_clusters(rows, 3, method="k-means")
    with pytest.raises(UsageError, match="one vector a row is needed; got 3; expected 200"):
        diagnose.error_clusters(rows, 3, features=np.zeros((3, 2)))


def test_more_training_rows_help_the_word_counter() -> None:
    from sklearn.base import clone

    counter = intents()
    held_out = counter.splits.validation

    def measure(train: list[diagnose.Example], seed: int) -> float:
        model = clone(counter.model).fit([r.text for r in train], [r.label for r in train])
        return float(model.score([r.text for r in held_out], [r.label for r in held_out]))

    found = diagnose.learning_curve(measure, counter.splits.train, [50, 400], seeds=[1, 2, 3])
    assert found[400].low > found[50].value and found[50].rows == 50
    with pytest.raises(UsageError, match="expected sizes from 1 to 1200 and at least two seeds"):
        diagnose.learning_curve(measure, counter.splits.train, [5000])


def test_the_views_draw_what_they_are_given() -> None:
    figure = diagnosis.attention(("a", "$b"), np.array([[1.0, 0.0], [0.4, 0.6]]), title="head")
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["a", r"\$b"]
    view = diagnosis.tokens([("<b>", 0.25, 3, [("x'", 0.5)])]).data
    assert "&lt;b&gt;" in view and "25.0%, rank 3" in view and "<b>" not in view
