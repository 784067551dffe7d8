"""Paired tests against references and by hand, and on runs over the course's own data."""

from __future__ import annotations

import json
import shutil
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from course_lib import files
from course_lib.errors import DataError, ModelError, UnknownNameError, UsageError
from course_lib.finetune import compare, data, recipe
from course_lib.finetune.records import Evaluation

ROWS = {"epochs": 1, "train_rows": 48, "validation_rows": 16}


@pytest.fixture(scope="module")
def runs(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two runs on all test tickets, differing in seed and rate."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, rate in ((1, 1e-3), (2, 2e-2)):
        recipe.finetune(
            "classification", "support_tickets", base=str(tiny_base), seed=seed,
            settings={**ROWS, "learning_rate": rate}, out=folder / f"seed{seed}",
        )  # fmt: skip
    return folder


def copy_with(run: Path, to: Path, rows: list[dict[str, Any]]) -> Path:
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("model", "tensorboard"))
    (to / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return to


def test_mcnemar_is_the_binomial_for_few_and_chi_square_for_many() -> None:
    few = compare.mcnemar([True] * 6 + [False] * 16 + [True], [False] * 6 + [True] * 16 + [True])
    assert (few.only_first, few.only_second, few.method) == (6, 16, "McNemar, exact")
    assert few.p == pytest.approx(2 * sum(comb(22, i) for i in range(7)) / 2**22)
    many = compare.mcnemar([True] * 86 + [False] * 150, [False] * 86 + [True] * 150)
    assert many.p == pytest.approx(stats.chi2.sf((64 - 1) ** 2 / 236, 1))
    assert many.method == "McNemar, chi-square"
    assert many.p == pytest.approx(4.114562281345944e-05)  # statsmodels 0.14
    assert compare.mcnemar([True] * 5, [True] * 5).p == 1
    assert compare.mcnemar([True, False] * 20, [False, True] * 20).p == 1
    with pytest.raises(UsageError, match="rows do not pair up; got 1 and 2 rows"):
        compare.mcnemar([True], [True, False])


def test_holm_is_that_of_statsmodels() -> None:
    assert compare.holm([0.01, 0.04, 0.03, 0.005, 0.6]) == pytest.approx(
        [0.04, 0.09, 0.09, 0.025, 0.6]
    )
    assert compare.holm([]) == [] and compare.holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(UsageError, match="p-values lie between 0 and 1"):
        compare.holm([1.2])


def test_the_paired_bootstrap_is_that_of_scipy_and_repeats() -> None:
    rng = np.random.default_rng(3)
    first = rng.random(150)
    second = np.clip(first - 0.04 + rng.normal(0, 0.2, 150), 0, 1)
    found = compare.paired_bootstrap(first, second, seed=5)
    theirs = stats.bootstrap(
        (first - second,), np.mean, method="percentile", rng=5
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert found.mean == pytest.approx((first - second).mean())
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)
    assert found == compare.paired_bootstrap(first, second, seed=5)
    assert found != compare.paired_bootstrap(first, second, seed=6)
    same = compare.paired_bootstrap(first, first)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    with pytest.raises(UsageError, match=r"got \(2,\) and \(3,\) rows"):
        compare.paired_bootstrap([1, 0], [1, 0, 1])


def test_two_runs_on_the_tickets_are_compared_row_by_row(runs: Path) -> None:
    found = compare.compare_runs(runs / "seed1", runs / "seed2")
    for run, value in (("seed1", found.first), ("seed2", found.second)):
        told = files.read_json(runs / run / "run.json")["metrics"]["after"]["accuracy"]
        assert value == pytest.approx(told)
    assert (found.metric, found.rows, found.names) == ("accuracy", 200, ("seed1", "seed2"))
    assert found.mcnemar is not None and found.p == found.mcnemar.p
    lead = (found.mcnemar.only_first - found.mcnemar.only_second) / 200
    assert found.difference.mean == pytest.approx(lead)
    assert found.difference.low <= lead <= found.difference.high
    assert found.sentence().startswith("seed1 0.") and "McNemar" in found.sentence()
    gold = [{**p, "prediction": p["gold"]} for p in compare.predictions_of(runs / "seed1")]
    named = {"a": runs / "seed1", "b": runs / "seed2", "right": Evaluation({}, tuple(gold))}
    three = compare.compare_all(named)
    assert [c.names for c in three] == [("a", "b"), ("a", "right"), ("b", "right")]
    assert [c.p_holm for c in three] == compare.holm([c.p for c in three])
    assert three[2].p_holm is not None and three[2].p_holm < 1e-10 and three[2].second == 1
    assert "after Holm" in three[0].sentence() and "< 0.001 after Holm" in three[2].sentence()


def test_questions_on_one_passage_are_resampled_together() -> None:
    def run(share: float) -> Evaluation:
        rng = np.random.default_rng(0)
        right = np.repeat(rng.random(20) < share, 5)
        return Evaluation({}, tuple(
            {"id": str(i), "gold": ["yes"], "prediction": "yes" if r else "", "group": str(i // 5)}
            for i, r in enumerate(right)
        ))  # fmt: skip

    together = compare.compare_runs(run(0.8), run(0.4))
    apart = compare.paired_bootstrap(*compare.aligned_scores([run(0.8), run(0.4)])[0])
    assert together.difference.mean == apart.mean
    assert together.difference.high - together.difference.low > 1.8 * (apart.high - apart.low)
    assert "(paired bootstrap of 20 groups)" in together.sentence()


def test_other_test_rows_are_refused_by_name(runs: Path, tmp_path: Path) -> None:
    rows = compare.predictions_of(runs / "seed1")
    short = copy_with(runs / "seed2", tmp_path / "short", rows[5:])
    with pytest.raises(
        DataError, match=r"only in seed1: test-0001, .* and 2 more; only in short: none"
    ):
        compare.compare_runs(runs / "seed1", short)
    other = [{**rows[0], "gold": "payment" if rows[0]["gold"] != "payment" else "account"}]
    changed = copy_with(runs / "seed2", tmp_path / "changed", other + rows[1:])
    with pytest.raises(DataError, match="row test-0001 with two different gold answers"):
        compare.compare_runs(runs / "seed1", changed)
    shuffled = copy_with(runs / "seed1", tmp_path / "shuffled", rows[::-1])
    assert compare.compare_runs(runs / "seed1", shuffled).difference.p == 1


def test_what_is_no_run_with_predictions_is_refused(runs: Path, tmp_path: Path) -> None:
    rows = compare.predictions_of(runs / "seed1")
    with pytest.raises(ModelError, match="not a finished run"):
        compare.compare_runs(tmp_path, runs / "seed1")
    with pytest.raises(
        DataError, match=r"no predictions by row; expected .* not language-modeling"
    ):
        compare.predictions_of(copy_with(runs / "seed1", tmp_path / "empty", []))
    with pytest.raises(DataError, match=r"predictions\.jsonl:201: .* a second row 'test-0001'"):
        compare.predictions_of(copy_with(runs / "seed1", tmp_path / "twice", rows + rows[:1]))
    with pytest.raises(DataError, match=r"without \['gold'\]"):
        compare.predictions_of(
            copy_with(runs / "seed1", tmp_path / "bare", [{"id": "1", "prediction": "x"}])
        )
    (tmp_path / "empty" / "predictions.jsonl").unlink()
    with pytest.raises(DataError, match="the run's predictions are missing"):
        compare.predictions_of(tmp_path / "empty")
    with pytest.raises(UnknownNameError, match="unknown metric by row 'f1'"):
        compare.compare_runs(runs / "seed1", runs / "seed2", metric="f1")


def test_answers_are_scored_as_in_the_runs_own_metrics(tiny_base: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "train_rows": 24, "validation_rows": 8, "test_rows": 30}
    run = recipe.finetune(
        "question-answering", "handbook_qa", base=str(tiny_base), settings=settings,
        out=tmp_path / "qa",
    )  # fmt: skip
    rows = compare.predictions_of(tmp_path / "qa")
    first = Evaluation({}, tuple({**r, "prediction": (r["gold"] or [""])[0]} for r in rows))
    for metric in ("f1", "exact_match"):
        found = compare.compare_runs(tmp_path / "qa", first, metric=metric)
        assert found.first == pytest.approx(run["metrics"]["after"][metric])
        assert found.second == 1 and (found.mcnemar is None) == (metric == "f1")
        assert found.difference.high < 0 and found.p < 0.01


def test_texts_and_tags_are_scored_by_row() -> None:
    import sacrebleu

    phrases = data.load("completion", "phrases_en_fr").test[:20]
    rows = [{"id": r.id, "gold": r.target, "prediction": r.target} for r in phrases]
    copied = [{**r, "prediction": p.text} for r, p in zip(rows, phrases, strict=True)]
    (whole, source), metric = compare.aligned_scores(
        [Evaluation({}, tuple(rows)), Evaluation({}, tuple(copied))]
    )
    assert metric == "chrf" and whole == pytest.approx(np.ones(20))
    chrf = sacrebleu.sentence_chrf(phrases[3].text, [str(phrases[3].target)]).score
    assert source[3] == pytest.approx(chrf / 100)
    tags = data.load("token-classification", "entities").test[:20]
    row = next(t for t in tags if "B-" in "".join(t.tags))
    said = {"id": "1", "gold": list(row.tags), "prediction": ["O"] * len(row.tags)}
    share = row.tags.count("O") / len(row.tags)
    assert compare.row_scores(said) == {"word_accuracy": pytest.approx(share), "exact_match": 0}
