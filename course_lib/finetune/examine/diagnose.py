"""Evaluation beyond one number: intervals, confusions, clusters of errors, learning curves.

Everything here takes plain rows: maps with ``id``, ``gold``, ``prediction`` and, where named,
``probabilities``, as in a run's ``predictions.jsonl``, joined with the data's own columns by
:func:`slices.join`. So it works for any classifier, whoever made the predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib import metrics
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.records import Example

Row = Mapping[str, Any]
Metric = str | Callable[[Sequence[Row]], float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its interval (95% unless asked otherwise) and the rows it comes from."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows of class ``gold`` called ``prediction``: how many, and their share of that class."""

    gold: str
    prediction: str
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """Errors that look alike: typical words, and the rows from the most typical on."""

    words: tuple[str, ...]
    rows: tuple[Row, ...]


def check_rows(rows: Sequence[Row], *needed: str) -> None:
    """Refuse an empty list, and rows without ``gold``, ``prediction`` or a needed column.

    Raises:
        DataError: when there are no rows.
        UnknownNameError: naming the column and the row, with close matches.
    """
    if not len(rows):
        raise DataError("there are no rows to measure", next_step="check how they were chosen")
    for name in ("gold", "prediction", *needed):
        for place, row in enumerate(rows):
            if name not in row:
                where = row.get("id", f"number {place + 1}")
                raise UnknownNameError(f"column (row {where})", name, map(str, row))


def _codes(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, int]:
    """Give true and predicted classes as numbers ``[rows]``, and how many classes there are."""
    both = [str(r["gold"]) for r in rows] + [str(r["prediction"]) for r in rows]
    names, codes = np.unique(both, return_inverse=True)
    return codes[: len(rows)], codes[len(rows) :], len(names)


def _accuracy(gold: np.ndarray, guess: np.ndarray, classes: int) -> float:
    return float((gold == guess).mean())


def _f1_macro(gold: np.ndarray, guess: np.ndarray, classes: int) -> float:
    """Give the plain mean of F1 over the classes that occur in ``gold`` (as metrics.py does)."""
    true, called = (np.bincount(c, minlength=classes) for c in (gold, guess))
    right = np.bincount(gold[gold == guess], minlength=classes)
    occurs = true > 0
    return float((2 * right[occurs] / (true[occurs] + called[occurs])).mean())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "accuracy": _accuracy,
    "f1_macro": _f1_macro,
}


def share(right: np.ndarray, level: float = 0.95) -> Estimate:
    """Give the share of ones in ``[rows]`` with its Wilson interval (1927).

    It keeps a width for few rows and for shares of 0 or 1, where a bootstrap has none.
    """
    from scipy.stats import binomtest

    found = binomtest(int(right.sum()), len(right)).proportion_ci(level, method="wilson")
    return Estimate(float(right.mean()), float(found.low), float(found.high), len(right))


def interval(
    rows: Sequence[Row],
    metric: Metric = "accuracy",
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Give any metric with its percentile bootstrap interval over rows (Efron 1979).

    Where all rows are right, or all wrong, accuracy gets :func:`share`'s interval.

    Args:
        rows: predictions.
        metric: ``accuracy``, ``f1_macro``, or a function from rows to a number; draws on
            which it gives NaN (such as a recall without rows of the class) are left out.
        seed: of the resampling (``metrics.RESAMPLES`` draws).
        level: coverage.

    Raises:
        UnknownNameError: for an unknown metric, with close matches.
        DataError: when there are no rows, or ``f1_macro`` is asked of rows of one class.
    """
    check_rows(rows)
    score = scorer(rows, metric)
    if metric == "accuracy" and len({r["gold"] == r["prediction"] for r in rows}) == 1:
        return share(np.array([r["gold"] == r["prediction"] for r in rows]), level)
    picks = np.random.default_rng(seed).integers(0, len(rows), (metrics.RESAMPLES, len(rows)))
    drawn = [score(pick) for pick in picks]
    if np.isnan(drawn).all():
        raise DataError("the metric is undefined on these rows", got=f"{len(rows)} rows")
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(score(np.arange(len(rows))), float(low), float(high), len(rows))


def scorer(rows: Sequence[Row], metric: Metric) -> Callable[[np.ndarray], float]:
    """Give the metric as a function of row numbers, int64 ``[picked]``.

    Raises:
        UnknownNameError: for an unknown metric, with close matches.
        DataError: when ``f1_macro`` is asked of rows of one class.
    """
    if isinstance(metric, str) and metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    if not isinstance(metric, str):
        return lambda pick: float(metric([rows[i] for i in pick]))
    gold, guess, classes = _codes(rows)
    if metric == "f1_macro" and len(set(gold.tolist())) < 2:
        raise DataError(
            "macro F1 says nothing about rows of one class",
            got=f"{len(rows)} rows, all {rows[0]['gold']!r}",
            expected="at least two true classes",
            next_step="measure accuracy there, or join it with another slice",
        )
    score = METRICS[metric]
    return lambda pick: score(gold[pick], guess[pick], classes)


def confusions(rows: Sequence[Row]) -> list[Confusion]:
    """Count the wrong cells of the confusion matrix, the fullest first."""
    check_rows(rows)
    totals = Counter(str(r["gold"]) for r in rows)
    pairs = ((str(r["gold"]), str(r["prediction"])) for r in rows)
    cells = Counter(pair for pair in pairs if pair[0] != pair[1])
    ordered = sorted(cells.items(), key=lambda item: (-item[1], item[0]))
    return [Confusion(g, p, n, n / totals[g]) for (g, p), n in ordered]


def behind(rows: Sequence[Row], gold: str, prediction: str) -> list[Row]:
    """Give the rows of one cell of the confusion matrix, surest first (may be none).

    Raises:
        UnknownNameError: for a class that nothing is and nothing is called.
    """
    check_rows(rows)
    known = {str(r[side]) for r in rows for side in ("gold", "prediction")}
    for name in (gold, prediction):
        if name not in known:
            raise UnknownNameError("class", name, known)
    cell = [r for r in rows if str(r["gold"]) == gold and str(r["prediction"]) == prediction]
    return sorted(cell, key=lambda r: -float(r.get("probabilities", {}).get(prediction, 0.0)))


def error_clusters(
    rows: Sequence[Row],
    clusters: int = 5,
    *,
    features: np.ndarray | None = None,
    method: str = "kmeans",
    text: str = "text",
    seed: int = 0,
) -> list[Cluster]:
    """Sort the wrong rows into groups of like texts, the largest group first.

    Typical words are those whose mean TF-IDF weight in the cluster exceeds that of the other
    errors most. Clusters are where to start reading; no test says that they are real.

    Args:
        rows: joined predictions; right ones are left out.
        clusters: how many (k-means); for ``hdbscan`` the fewest rows a cluster may have, and
            rows that belong nowhere are left out.
        features: ``[rows, width]``, one vector a row of ``rows``, such as
            :func:`inspect_model.embed` gives; None for TF-IDF.
        method: ``kmeans`` or ``hdbscan`` (scikit-learn's).
        text: the column of the text.
        seed: of k-means.

    Raises:
        DataError: when there are fewer wrong rows than clusters.
        UsageError: for an unknown method, or features that do not fit the rows.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    check_rows(rows, text)
    wrong = [i for i, r in enumerate(rows) if r["gold"] != r["prediction"]]
    if clusters < 2 or len(wrong) < clusters:
        raise DataError(
            "too few errors to sort into clusters",
            got=f"{len(wrong)} wrong rows for {clusters} clusters",
            expected="at least two clusters, and as many errors as clusters",
        )
    if features is not None and len(features) != len(rows):
        raise UsageError(
            "one vector a row is needed", got=f"{len(features)}", expected=f"{len(rows)}"
        )
    counter = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    counts = counter.fit_transform([str(rows[i][text]) for i in wrong]).toarray()
    vectors = counts if features is None else np.asarray(features)[wrong]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    member, words = _assign(vectors, clusters, method, seed), counter.get_feature_names_out()
    out = []
    for number in sorted(set(member.tolist()) - {-1}):
        inside = member == number
        others = counts[~inside].mean(0) if (~inside).any() else 0.0
        best = np.argsort(-(counts[inside].mean(0) - others), kind="stable")[:8]
        near = vectors[inside] @ vectors[inside].mean(0)
        places = np.flatnonzero(inside)[np.argsort(-near, kind="stable")]
        typical = tuple(str(words[i]) for i in best)
        out.append(Cluster(typical, tuple(rows[wrong[i]] for i in places)))
    return sorted(out, key=lambda c: -len(c.rows))


def _assign(vectors: np.ndarray, clusters: int, method: str, seed: int) -> np.ndarray:
    """Give each vector's cluster, ``[rows]``; -1 for none."""
    from sklearn.cluster import HDBSCAN, KMeans

    if method == "kmeans":
        found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(vectors)
    elif method == "hdbscan":
        found = HDBSCAN(min_cluster_size=clusters, copy=True).fit_predict(vectors)
    else:
        raise UnknownNameError("method", method, ["kmeans", "hdbscan"])
    return np.asarray(found)


def learning_curve(
    measure: Callable[[list[Example], int], float],
    train: Sequence[Example],
    sizes: Sequence[int],
    seeds: Sequence[int] = (1, 2, 3),
) -> dict[int, Estimate]:
    """Measure what more training rows bring: the figure at each size, over seeds.

    Args:
        measure: from training rows and a seed to a figure on the *validation* rows; it may
            count words or fine-tune.
        train: all training rows; samples are drawn by label in turn.
        sizes: how many rows to try.
        seeds: at least two; of the samples, and handed on to ``measure``.

    Returns:
        By size, the mean and its 95% interval over seeds (Student's t).

    Raises:
        UsageError: for a size below 1 or beyond the rows there are, or fewer than two seeds.
    """
    from course_lib.finetune.experiment import mean_interval
    from course_lib.finetune.splits import sample

    wrong = [n for n in sizes if not 1 <= n <= len(train)]
    if wrong or len(seeds) < 2:
        raise UsageError(
            "these sizes and seeds cannot be measured",
            got=f"sizes {list(sizes)}, {len(seeds)} seeds",
            expected=f"sizes from 1 to {len(train)} and at least two seeds",
        )
    out = {}
    for size in sizes:
        values = [measure(sample(train, size, seed), seed) for seed in seeds]
        out[size] = Estimate(*mean_interval(values), rows=size)
    return out
