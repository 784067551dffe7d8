"""Ensembles and summaries over seeds, on runs over the course's own data."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune import compare, data, recipe, runs
from course_lib.finetune.records import Evaluation
from course_lib.finetune.tradeoffs import ensemble

ROWS = {"epochs": 1, "train_rows": 48, "validation_rows": 16, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def members(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Give three runs on all test tickets, differing in seed and in what is frozen."""
    folder = tmp_path_factory.mktemp("members")
    for seed, freeze in ((1, "none"), (2, "none"), (3, "1")):
        recipe.finetune(
            "classification", "support_tickets", base=str(tiny_base), seed=seed,
            settings={**ROWS, "freeze": freeze}, out=folder / f"seed{seed}",
        )  # fmt: skip
    return [folder / f"seed{seed}" for seed in (1, 2, 3)]


def said(rows: list[dict[str, Any]]) -> Evaluation:
    return Evaluation({}, tuple(rows))


def voter(choice: str, sure: float = 1.0) -> Evaluation:
    other = "ab".replace(choice, "")
    row = {"id": "1", "gold": "a", "prediction": choice}
    return said([{**row, "probabilities": {choice: sure, other: 1 - sure}}])


def test_an_ensemble_averages_probabilities(members: list[Path]) -> None:
    found = ensemble.ensemble(members)
    tables = [
        np.array([list(p["probabilities"].values()) for p in compare.predictions_of(m)])
        for m in members
    ]
    mean = np.mean(tables, axis=0)
    names = list(found.predictions[0]["probabilities"])
    assert [p["prediction"] for p in found.predictions] == [names[i] for i in mean.argmax(1)]
    right = np.mean([p["prediction"] == p["gold"] for p in found.predictions])
    assert found.metrics["accuracy"] == pytest.approx(right)
    at_gold = [p["probabilities"][p["gold"]] for p in found.predictions]
    assert found.metrics["loss"] == pytest.approx(-np.log(at_gold).mean())
    assert compare.compare_runs(found, members[0]).rows == 200


def test_a_tied_vote_goes_to_the_surer_members() -> None:
    found = ensemble.ensemble([voter("a", 0.9), voter("b", 0.6)], how="vote").predictions[0]
    assert found["prediction"] == "a" and found["probabilities"] == {"a": 0.5, "b": 0.5}
    most = ensemble.ensemble([voter("a"), voter("b", 0.6), voter("b", 0.6)], how="vote")
    assert most.predictions[0]["prediction"] == "b"
    mean = ensemble.ensemble([voter("a"), voter("b", 0.6), voter("b", 0.6)])
    assert mean.predictions[0]["prediction"] == "a"


def test_new_data_and_new_texts_are_answered_together(members: list[Path]) -> None:
    again = ensemble.ensemble(members, data="support_tickets")
    kept = ensemble.ensemble(members)
    assert again.metrics["accuracy"] == pytest.approx(kept.metrics["accuracy"])
    texts = [row.text for row in data.load("classification", "support_tickets").test[:5]]
    together = ensemble.ensemble_predict(members, texts)
    assert [t["prediction"] for t in together] == [p["prediction"] for p in kept.predictions[:5]]
    alone = [runs.predict_run(m, texts)[0]["probabilities"]["payment"] for m in members]
    assert together[0]["probabilities"]["payment"] == pytest.approx(statistics.mean(alone))
    voted = ensemble.ensemble_predict(members, texts, how="vote")
    assert all(math.isclose(sum(v["probabilities"].values()), 1) for v in voted)


def test_the_gain_is_measured_against_the_members(members: list[Path]) -> None:
    gain = ensemble.ensemble_gain(members)
    each = [compare.compare_runs(m, m).first for m in members]
    assert gain.members == pytest.approx(each) and gain.rows == 200
    assert gain.gain.mean == pytest.approx(gain.ensemble - statistics.mean(each))
    assert gain.gain.low <= gain.gain.mean <= gain.gain.high
    assert gain.any_right >= max(each) and 0 < gain.apart <= 1
    assert [c.p_holm for c in gain.against] == compare.holm([c.p for c in gain.against])
    assert gain.against[1].names == ("ensemble", "2: seed2")
    assert gain.sentence().startswith("ensemble of 3: accuracy 0.")


def test_answers_and_tags_are_voted_on() -> None:
    rows = [r for r in data.load("question-answering", "handbook_qa").test if r.answers][:10]
    right = [{"id": r.id, "gold": list(r.answers), "prediction": r.answers[0]} for r in rows]
    wrong = [{**r, "prediction": "on the moon"} for r in right]
    spelt = [{**r, "prediction": r["prediction"].upper() + "!"} for r in right]
    found = ensemble.ensemble([said(wrong), said(right), said(spelt)], how="vote")
    assert found.metrics["exact_match"] == 1
    assert found.predictions[0]["prediction"] == right[0]["prediction"]
    with pytest.raises(UsageError, match="only class probabilities can be averaged"):
        ensemble.ensemble([said(wrong), said(right)])
    words = data.load("token-classification", "entities").test[:10]
    tags = [{"id": r.id, "gold": list(r.tags), "prediction": list(r.tags)} for r in words]
    none = [{**t, "prediction": ["O"] * len(t["gold"])} for t in tags]
    voted = ensemble.ensemble([said(none), said(tags), said([*tags])], how="vote")
    assert voted.metrics["f1"] == 1
    texts = [{"id": "1", "gold": "a text", "prediction": "a text"}]
    with pytest.raises(UsageError, match="written texts cannot be voted on"):
        ensemble.ensemble([said(texts), said([*texts])], how="vote")


def test_what_makes_no_ensemble_is_refused(members: list[Path]) -> None:
    with pytest.raises(UsageError, match="at least two different members; got 1"):
        ensemble.ensemble(members[:1])
    with pytest.raises(UsageError, match="got seed1 twice"):
        ensemble.ensemble([members[0], members[1], members[0] / "." / ""])
    with pytest.raises(UnknownNameError, match="unknown way to combine 'averaged'"):
        ensemble.ensemble(members, how="averaged")
    with pytest.raises(UsageError, match="new data need run folders"):
        ensemble.ensemble([voter("a"), voter("b")], data="support_tickets")
    rows = compare.predictions_of(members[0])
    other = [{**r, "probabilities": {"joy": 1.0}} for r in rows]
    with pytest.raises(DataError, match=r"do not know the same classes; got .*account.*joy"):
        ensemble.ensemble([members[1], said(other)])
    with pytest.raises(DataError, match="not measured on the same test rows"):
        ensemble.ensemble([members[1], said(rows[:-1])])


def test_seeds_and_rows_are_summarised_together(members: list[Path]) -> None:
    found = ensemble.over_seeds(members)
    values = [compare.compare_runs(m, m).first for m in members]
    assert found.values == pytest.approx(values) and (found.seeds, found.rows) == (3, 200)
    assert found.seed_spread == pytest.approx(statistics.stdev(values))
    one = ensemble.over_seeds(members[:1])
    right = [p["prediction"] == p["gold"] for p in compare.predictions_of(members[0])]
    assert math.isnan(one.seed_spread) and one.row_spread == pytest.approx(stats.sem(right))
    lead = ensemble.over_seeds(members[:2], members[1:])
    assert lead.mean == pytest.approx((values[0] - values[2]) / 2)
    assert lead.low <= lead.mean <= lead.high
    same = ensemble.over_seeds(members, members)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    with pytest.raises(UsageError, match="seeds do not pair up; got 3 runs, 2 others"):
        ensemble.over_seeds(members, members[:2])


def test_the_interval_over_seeds_and_rows_covers_what_it_should() -> None:
    rng = np.random.default_rng(0)

    def arm(rows: np.ndarray) -> list[Evaluation]:
        own, found = rng.normal(0, 0.6, 100), []
        for _ in range(3):  # a seed shifts all rows and jolts each of them
            right = rows + own + rng.normal(0, 0.15) + rng.normal(0, 0.7, 100) > 0
            found.append(
                said(
                    [
                        {"id": str(i), "gold": "a", "prediction": "ba"[int(r)], "probabilities": {}}
                        for i, r in enumerate(right)
                    ]
                )
            )
        return found

    hits = 0
    for _ in range(150):
        rows = rng.normal(0, 1.2, 100)
        found = ensemble.over_seeds(arm(rows), arm(rows))
        hits += found.low <= 0 <= found.high
    assert hits / 150 >= 0.92
