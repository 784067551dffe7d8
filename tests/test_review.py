"""The review queue on the answers of a simple classifier of the course tickets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune import data
from course_lib.finetune.feedback import review
from course_lib.finetune.records import Example, Splits


@pytest.fixture(scope="module")
def answered() -> tuple[Splits, list[dict[str, Any]]]:
    """Give the tickets, and TF-IDF's predictions of the test rows, as an evaluation has them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    splits = data.load("classification", "support_tickets")
    judge = make_pipeline(TfidfVectorizer(min_df=2), LogisticRegression())
    judge.fit([r.text for r in splits.train], [str(r.label) for r in splits.train])
    found = judge.predict_proba([r.text for r in splits.test])
    names = [str(c) for c in judge.classes_]
    return splits, [
        {"id": r.id, "gold": r.label, "prediction": names[int(p.argmax())],
         "probabilities": dict(zip(names, map(float, p), strict=True))}
        for r, p in zip(splits.test, found, strict=True)
    ]  # fmt: skip


def test_the_least_sure_come_first_and_the_audit_is_drawn_from_the_rest(
    answered: tuple[Splits, list[dict[str, Any]]],
) -> None:
    splits, predictions = answered
    queue = review.review_queue(splits.test, predictions, budget=40, audit_share=0.25, seed=1)
    unsure = [q for q in queue if q.why == review.UNSURE]
    audit = [q for q in queue if q.why == review.AUDIT]
    assert len(unsure) == 30 and len(audit) == 10 and queue[:30] == unsure
    sure = [q.confidence for q in unsure]
    assert sure == sorted(review.confidence(predictions))[:30]
    assert min(q.confidence for q in audit) >= sure[-1]
    assert len({q.id for q in queue}) == 40
    assert queue == review.review_queue(
        splits.test, predictions, budget=40, audit_share=0.25, seed=1
    )
    other = review.review_queue(splits.test, predictions, budget=40, audit_share=0.25, seed=2)
    assert other[:30] == unsure and other[30:] != audit
    assert len(review.review_queue(splits.test, predictions, budget=999)) == 200


def test_decisions_come_back_as_training_rows(
    answered: tuple[Splits, list[dict[str, Any]]], tmp_path: Path
) -> None:
    splits, predictions = answered
    gold = {r.id: str(r.label) for r in splits.test}
    queue = review.review_queue(splits.test, predictions, budget=60)
    decisions = {q.id: gold[q.id] for q in queue}
    rows = review.take_back(queue, decisions, reviewer="kim", labels=splits.labels)
    first = rows[0]
    assert first["label"] == gold[first["id"]] and first["text"] == queue[0].text
    assert first["provenance"] == {
        "source": "review", "reviewer": "kim", "predicted": queue[0].prediction,
        "confidence": round(queue[0].confidence, 6), "why": "unsure",
        "agreed": queue[0].prediction == gold[first["id"]],
    }  # fmt: skip
    path = tmp_path / "reviewed.jsonl"
    assert review.save_reviewed(rows, path) == 60
    changed = [{**first, "label": "feedback"}]
    assert review.save_reviewed(changed, path) == 60, "a newer decision replaces the older"
    again = data.load("classification", str(path))
    found = {r.id: r.label for part in (again.train, again.validation, again.test) for r in part}
    assert found == {**decisions, first["id"]: "feedback"}


def test_reviewing_the_unsure_beats_reviewing_at_random(
    answered: tuple[Splits, list[dict[str, Any]]],
) -> None:
    _, predictions = answered
    table = review.errors_caught(predictions, rates=(0.1, 0.3, 1.0))
    assert [row["reviewed"] for row in table] == [20, 60, 200]
    assert table[1]["caught"] > 0.3 + 0.1, "a random 30% catches 30% of the errors"
    assert table[2]["caught"] == 1.0 and table[2]["accuracy"] == 1.0
    low, high = table[1]["caught_interval"]
    assert low < table[1]["caught"] < high
    wrong = sum(p["gold"] != p["prediction"] for p in predictions)
    missed = round(wrong * (1 - table[0]["caught"]))
    assert table[0]["accuracy"] == pytest.approx(1 - missed / 200)


def test_the_audit_estimates_what_was_missed(
    answered: tuple[Splits, list[dict[str, Any]]],
) -> None:
    splits, predictions = answered
    gold = {r.id: str(r.label) for r in splits.test}
    wrong = {str(p["id"]) for p in predictions if p["prediction"] != p["gold"]}
    covered = 0
    for seed in range(60):
        queue = review.review_queue(splits.test, predictions, budget=80, audit_share=0.5, seed=seed)
        found = review.audit(queue, {q.id: gold[q.id] for q in queue}, total=200)
        seen = wrong & {q.id for q in queue}
        assert found["found"] == len(seen)
        low, high = found["caught_interval"]  # type: ignore[misc]
        covered += low <= len(seen) / len(wrong) <= high
    assert covered >= 55, "a 95% interval should hold the truth nearly always"


def test_bad_calls_are_named(answered: tuple[Splits, list[dict[str, Any]]]) -> None:
    splits, predictions = answered
    with pytest.raises(DataError, match="no predictions to review"):
        review.review_queue([], [], budget=5)
    with pytest.raises(UsageError, match="the budget must be at least 1"):
        review.review_queue(splits.test, predictions, budget=0)
    with pytest.raises(UsageError, match=r"audit_share 1\.5"):
        review.review_queue(splits.test, predictions, budget=5, audit_share=1.5)
    with pytest.raises(DataError, match="rows and predictions do not pair up"):
        review.review_queue(splits.test[:3], predictions, budget=5)
    with pytest.raises(DataError, match="no probabilities beside the prediction"):
        review.review_queue([Example("a", "b")], [{"prediction": "x"}], budget=1)
    queue = review.review_queue(splits.test, predictions, budget=10)
    with pytest.raises(DataError, match="no decisions to take back"):
        review.take_back(queue, {}, reviewer="kim", labels=splits.labels)
    with pytest.raises(DataError, match="was not in the queue; got 'nobody'"):
        review.take_back(queue, {"nobody": "payment"}, reviewer="kim", labels=splits.labels)
    with pytest.raises(UnknownNameError, match="did you mean 'payment'"):
        review.take_back(queue, {queue[0].id: "paymnt"}, reviewer="kim", labels=splits.labels)
    with pytest.raises(DataError, match="10 undecided"):
        review.audit(queue, {}, total=200)
    with pytest.raises(UsageError, match="a review rate lies between 0 and 1"):
        review.errors_caught(predictions, rates=(2.0,))
    right = [{**p, "prediction": p["gold"]} for p in predictions]
    with pytest.raises(DataError, match="made no error"):
        review.errors_caught(right)
