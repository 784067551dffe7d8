"""Agreement and adjudication on datasets/annotations, label errors on support_tickets_raw."""

from __future__ import annotations

import numpy as np
import pytest

from course_lib.errors import DataError, UnknownNameError
from course_lib.files import course_root, read_jsonl
from course_lib.finetune.text import annotate

DATA = course_root() / "datasets"


def round_of(name: str, field: str = "urgency") -> dict[str, str]:
    rows = read_jsonl(DATA / "annotations" / f"{name}.jsonl")
    return {row["id"]: row[field] for _, row in rows}


def test_agreement_on_the_course_rounds() -> None:
    from sklearn.metrics import cohen_kappa_score

    kappas = {}
    for name in ("round1", "round2"):
        a, b = round_of(f"{name}_a"), round_of(f"{name}_b")
        found = annotate.agreement(list(a.values()), list(b.values()))
        low, high = found.kappa_interval
        assert found.kappa == pytest.approx(cohen_kappa_score(list(a.values()), list(b.values())))
        assert low < found.kappa < high and 0.05 < high - low < 0.3
        assert found.labels == ("high", "low", "normal")
        assert sum(map(sum, found.confusion)) == found.rows == 300
        apart = annotate.disagreements(a, b)
        assert len(apart) == round(300 * (1 - found.accuracy))
        kappas[name] = found.kappa
    assert kappas["round2"] > kappas["round1"]


def test_the_interval_holds_the_true_kappa_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    table = np.array([[0.4, 0.1], [0.1, 0.4]])  # kappa 0.6
    hits = 0
    for seed in range(100):
        cells = rng.choice(4, size=200, p=table.ravel())
        first, second = [f"{c // 2}" for c in cells], [f"{c % 2}" for c in cells]
        low, high = annotate.agreement(first, second, resamples=500, seed=seed).kappa_interval
        hits += low <= 0.6 <= high
    assert hits >= 88


def test_adjudication_by_agreement_third_and_hand() -> None:
    a, b = round_of("round2_a"), round_of("round2_b")
    third = round_of("round2_plain_a")
    apart = annotate.disagreements(a, b)
    stubborn = [k for k, x, y in apart if third[k] not in (x, y)]
    settled = annotate.adjudicate(a, b, third=third)
    assert [s.id for s in settled] == list(a)
    assert sum(s.rule == "agree" for s in settled) == 300 - len(apart)
    assert [s.id for s in settled if s.label is None] == [k for k in a if k in stubborn]
    key = apart[0][0]
    by_hand = annotate.adjudicate(a, b, by_hand={key: "low"}, rules=("agree", "by_hand"))
    assert next(s for s in by_hand if s.id == key) == annotate.Settled(key, "low", "by_hand")
    assert sum(s.label is None for s in by_hand) == len(apart) - 1


def test_annotators_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="not two annotators of the same rows; got 2 and 0 labels"):
        annotate.agreement(["a", "b"], [])
    with pytest.raises(DataError, match="not two annotators of the same rows; got 0 and 0"):
        annotate.agreement([], [])
    with pytest.raises(DataError, match="one class only: kappa is undefined"):
        annotate.agreement(["a", "a"], ["a", "a"])
    with pytest.raises(DataError, match="did not label the same rows"):
        annotate.disagreements({"1": "a"}, {"2": "a"})
    with pytest.raises(DataError, match="a decision for a row nobody labelled; got '9'"):
        annotate.adjudicate({"1": "a"}, {"1": "b"}, by_hand={"9": "a"})
    with pytest.raises(UnknownNameError, match="unknown rule 'vote'"):
        annotate.adjudicate({"1": "a"}, {"1": "b"}, rules=["vote"])


def test_wrong_labels_of_the_ledger_come_first() -> None:
    rows = [r for _, r in read_jsonl(DATA / "support_tickets_raw" / "raw.jsonl")]
    rows = [r for r in rows if int(r["id"][4:]) % 2 == 0][:400]
    key = {r["id"]: r["intent"] for _, r in read_jsonl(DATA / "support_tickets_raw/ledger.jsonl")}
    given, texts = [r["intent"] for r in rows], [r["text"] for r in rows]
    wrong = [r["intent"] != key[r["id"]] for r in rows]
    probabilities, classes = annotate.out_of_fold(texts, given, folds=4)
    assert probabilities.shape == (400, 8)
    assert np.allclose(probabilities.sum(axis=1), 1)
    found = annotate.label_errors(given, probabilities=probabilities, classes=classes)
    assert sorted(s.place for s in found) == list(range(400))
    k = sum(wrong)
    precision = sum(wrong[s.place] for s in found[:k]) / k
    assert precision > 4 * k / 400, precision
    assert all(s.given == given[s.place] != s.suggested for s in found)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)


def test_label_errors_from_given_probabilities() -> None:
    sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.05, 0.95], [0.02, 0.98]])
    found = annotate.label_errors(["a", "a", "b", "b", "a"], probabilities=sure)
    assert found[0] == annotate.Suspect(4, "a", "b", pytest.approx(0.96), True)
    assert [s.place for s in found if s.confident] == [4]
    with pytest.raises(DataError, match=r"no probabilities for these labels; got shape None"):
        annotate.label_errors(["a", "b"])
    with pytest.raises(DataError, match=r"got shape \(5, 2\); expected .*\(2, 2\)"):
        annotate.label_errors(["a", "b"], probabilities=sure)
    with pytest.raises(DataError, match="a label that is no class; got 'c'"):
        annotate.label_errors(["a", "c"], probabilities=sure[:2], classes=["a", "b"])
    with pytest.raises(DataError, match=r"too few rows to hold some out; got 9 texts.* 1 groups"):
        annotate.label_errors(["a", "b", "a"] * 3, texts=["the same text"] * 9)
