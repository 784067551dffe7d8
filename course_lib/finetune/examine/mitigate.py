"""Two ways to narrow a gap between groups, and what each costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from course_lib import metrics
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.examine.diagnose import Estimate, Row, check_rows
from course_lib.finetune.examine.fairness import Gap, gaps
from course_lib.finetune.examine.slices import By, group

Item = TypeVar("Item")
GOALS = ("selected", "false_positive", "false_negative")


@dataclass(frozen=True, slots=True)
class Cost:
    """A mitigation on the same rows, before and after.

    Attributes:
        accuracy_before, accuracy_after: shares of right rows.
        difference: after minus before, with its paired bootstrap interval.
        gaps_before, gaps_after: by rate, as :func:`fairness.gaps` gives them.
    """

    accuracy_before: float
    accuracy_after: float
    difference: Estimate
    gaps_before: Mapping[str, Gap]
    gaps_after: Mapping[str, Gap]


def reweigh(groups: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Weigh training rows so that group and label become independent (Kamiran & Calders 2012).

    A row weighs P(group) P(label) / P(group, label); the weights sum to the number of rows.

    Args:
        groups, labels: one a training row.

    Returns:
        float64 ``[rows]``; for scikit-learn's ``sample_weight``, or :func:`resample`.

    Raises:
        UsageError: for lists of different length.
        DataError: for no rows, one group, or one label.
    """
    if len(groups) != len(labels):
        raise UsageError("a group and a label a row", got=f"{len(groups)} and {len(labels)}")
    for name, values in (("group", groups), ("label", labels)):
        if len(set(values)) < 2:
            raise DataError(f"reweighing needs at least two {name}s", got=f"{sorted(set(values))}")
    by_group, by_label = Counter(groups), Counter(labels)
    both, count = Counter(zip(groups, labels, strict=True)), len(groups)
    pairs = zip(groups, labels, strict=True)
    weights = np.array([by_group[g] * by_label[y] / (count * both[g, y]) for g, y in pairs])
    return np.asarray(weights * count / weights.sum())


def resample(rows: Sequence[Item], weights: Sequence[float], *, seed: int = 0) -> list[Item]:
    """Draw as many rows as there are, each expected as often as it weighs.

    A training loop that knows no row weights learns from these instead. Systematic sampling:
    a row of weight 1.4 comes once or twice, never more; the order is kept.

    Args:
        rows: training rows.
        weights: one a row, at least one above zero.
        seed: of the one random offset.

    Raises:
        UsageError: for weights that do not fit the rows, or below zero.
    """
    heavy = np.asarray(weights, dtype=float)
    if len(heavy) != len(rows) or not len(rows) or not (heavy >= 0).all() or not heavy.any():
        raise UsageError(
            "these weights do not fit the rows",
            got=f"{len(heavy)} weights for {len(rows)} rows",
            expected="one number from 0 up for each row, not all 0",
        )
    ends = np.cumsum(heavy) / heavy.sum() * len(rows)
    places = np.random.default_rng(seed).random() + np.arange(len(rows))
    return [rows[min(int(i), len(rows) - 1)] for i in np.searchsorted(ends, places, "right")]


def group_thresholds(
    validation: Sequence[Row], by: By, positive: str, goal: str = "false_negative"
) -> dict[str, float]:
    """Choose, on validation rows, a threshold for each group that gives all one rate.

    A group calls a row ``positive`` from its threshold on. The rate aimed at is the one that
    all rows together have now; each group takes the threshold that comes closest (after Hardt
    et al. 2016, without their randomisation).

    Args:
        validation: joined predictions with probabilities.
        by: a column or a function, as for :func:`slices.group`.
        positive: the class.
        goal: a rate of ``GOALS``.

    Raises:
        UnknownNameError: for an unknown goal, class or column, with close matches.
        DataError: for a group without the rows the rate counts, naming it.
    """
    if goal not in GOALS:
        raise UnknownNameError("goal", goal, GOALS)
    check_rows(validation, "probabilities")
    if positive not in validation[0]["probabilities"]:
        raise UnknownNameError("class", positive, validation[0]["probabilities"])
    wanted = None if goal == "selected" else goal == "false_negative"

    def counted(rows: Sequence[Row], where: str) -> list[Row]:
        kept = [r for r in rows if wanted is None or (r["gold"] == positive) == wanted]
        if not kept:
            raise DataError(f"no row of {where} counts for {goal}", got=f"{len(rows)} rows")
        return kept

    everyone = counted(validation, "the validation rows")
    called = float(np.mean([r["prediction"] == positive for r in everyone]))
    out = {}
    for name, part in group(validation, by).items():
        sure = np.array(
            [r["probabilities"][positive] for r in counted(part, f"the group {name!r}")]
        )
        edges = np.unique(np.concatenate([[0.0], sure, [1.0]]))
        middles = np.concatenate([[0.0], (edges[:-1] + edges[1:]) / 2, [1.0 + 1e-9]])
        shares = np.array([(sure >= t).mean() for t in middles])
        away = np.abs(shares - called)
        away[(shares == 0) & (called > 0)] += 1e-9  # of two equally close, the one that calls a row
        out[name] = float(middles[np.flatnonzero(away == away.min())[-1]])
    return out


def apply_thresholds(
    rows: Sequence[Row], by: By, positive: str, thresholds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Give the rows with new predictions: ``positive`` from the group's threshold on.

    Below it a row gets its likeliest other class.

    Raises:
        DataError: for a group without a threshold, naming it.
    """
    check_rows(rows, "probabilities")
    new: dict[int, str] = {}
    for name, part in group(rows, by).items():
        if name not in thresholds:
            known = ", ".join(sorted(thresholds))
            raise DataError(f"the group {name!r} has no threshold", expected=known)
        for row in part:
            found = row["probabilities"]
            others = [label for label in found if label != positive]
            best = max(others, key=lambda label: float(found[label]))
            new[id(row)] = positive if found[positive] >= thresholds[name] else best
    return [{**row, "prediction": new[id(row)]} for row in rows]


def cost(
    before: Sequence[Row], after: Sequence[Row], by: By, positive: str, *, seed: int = 0
) -> Cost:
    """Compare two sets of predictions on the same rows: accuracy and gaps.

    Args:
        before, after: joined predictions, rows in the same order.
        by, positive: as for :func:`fairness.gaps`.
        seed: of the bootstrap.

    Raises:
        DataError: when the rows are not the same.
    """
    check_rows(before, "id")
    check_rows(after, "id")
    ids = [[(r["id"], r["gold"]) for r in rows] for rows in (before, after)]
    if ids[0] != ids[1]:
        odd = set(ids[0]) ^ set(ids[1])
        got = ", ".join(str(i) for i, _ in sorted(odd)[:3]) if odd else "another order"
        raise DataError("the two are not on the same rows", got=got, expected="the same rows")
    right = [[float(r["gold"] == r["prediction"]) for r in rows] for rows in (before, after)]
    change = [b - a for a, b in zip(*right, strict=True)]
    low, high = metrics.bootstrap_interval(change, seed=seed)
    return Cost(
        float(np.mean(right[0])),
        float(np.mean(right[1])),
        Estimate(float(np.mean(change)), low, high, len(change)),
        gaps(before, by, positive, seed=seed),
        gaps(after, by, positive, seed=seed),
    )
