"""Evaluation beyond one number: intervals, slices, confusions, clusters of errors.

Everything here takes plain rows: maps with ``id``, ``gold``, ``prediction`` and, where named,
``probabilities``, as in a run's ``predictions.jsonl``, joined with the data's own columns by
:func:`join`. So it works for any classifier, whoever made the predictions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib import metrics
from course_lib.errors import DataError, UnknownNameError, UsageError

Row = Mapping[str, Any]
By = str | Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its interval (95% unless asked otherwise) and the rows it comes from."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class Slice:
    """One group of rows: its figure, and ``rest``, the same figure over all other rows.

    ``rest`` is NaN where there are no other rows, or the metric is undefined on them.
    """

    name: str
    figure: Estimate
    rest: float


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


def columns_of(data: str) -> dict[str, dict[str, Any]]:
    """Give the rows of a data set with all their columns, by row id.

    Args:
        data: a course data set's name, a file, a folder or a Hub id.

    Raises:
        DataError: when two rows carry the same id.
    """
    from course_lib.finetune import sources

    found: dict[str, dict[str, Any]] = {}
    for part in sources.find(data).parts.values():
        for where, row in part:
            key = str(row.get("id", where))
            if key in found:
                raise DataError("an id twice", where=where, got=repr(key), expected="unique ids")
            found[key] = {**row, "id": key}
    return found


def join(predictions: Sequence[Row], columns: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Give each prediction together with the columns of its data row.

    Args:
        predictions: maps with ``id``, ``gold`` and ``prediction``; these names win over
            columns of the same name.
        columns: data rows by id, as from :func:`columns_of`.

    Raises:
        DataError: when there is nothing to join, or a prediction's row is not in the data.
    """
    check_rows(predictions)
    for row in predictions:
        if row["id"] not in columns:
            raise DataError(
                "a prediction without its data row",
                where=f"row {row['id']}",
                got=f"{len(columns)} data rows",
                next_step="give the data set these predictions were made on",
            )
    return [{**columns[row["id"]], **row} for row in predictions]


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
                raise UnknownNameError("column", f"{name} (row {where})", map(str, row))


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


def interval(
    rows: Sequence[Row],
    metric: str | Callable[[Sequence[Row]], float] = "accuracy",
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Give any metric with its percentile bootstrap interval over rows (Efron 1979).

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
    if isinstance(metric, str) and metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    score = _scorer(rows, metric)
    picks = np.random.default_rng(seed).integers(0, len(rows), (metrics.RESAMPLES, len(rows)))
    drawn = [score(pick) for pick in picks]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(score(np.arange(len(rows))), float(low), float(high), len(rows))


def _scorer(
    rows: Sequence[Row], metric: str | Callable[[Sequence[Row]], float]
) -> Callable[[np.ndarray], float]:
    """Give the metric as a function of row numbers."""
    if callable(metric):
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


def group(
    rows: Sequence[Row], by: By, names: Sequence[str] | None = None
) -> dict[str, list[Row]]:
    """Sort rows into groups.

    Args:
        rows: joined rows.
        by: a column, or a function from a row to its group's name (True and False for a
            predicate), such as :func:`by_length`.
        names: the groups wanted, in this order; None for all there are, sorted.

    Raises:
        UnknownNameError: for an unknown column, with close matches.
        DataError: for a wanted group that holds no row, naming it.
    """
    if isinstance(by, str):
        check_rows(rows, by)
        column = by
        by = lambda row: row[column]  # noqa: E731
    check_rows(rows)
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(by(row)), []).append(row)
    for name in names or ():
        if name not in found:
            raise DataError(
                f"the group {name!r} is empty",
                got=", ".join(f"{n} ({len(found[n])})" for n in sorted(found)),
                next_step="check its spelling, or leave it out",
            )
    return {name: found[name] for name in names or sorted(found)}


def slices(
    rows: Sequence[Row],
    by: By,
    *,
    names: Sequence[str] | None = None,
    metric: str | Callable[[Sequence[Row]], float] = "accuracy",
    seed: int = 0,
) -> list[Slice]:
    """Measure each group of rows, lowest first, each with its interval and count.

    With many groups one looks bad by chance: of twenty 95% intervals one misses on average.

    Args:
        rows, by, names: as for :func:`group`.
        metric, seed: as for :func:`interval`.

    Raises:
        DataError: for an empty group, or (macro F1) a group of one class, naming it.
    """
    out = []
    for name, part in group(rows, by, names).items():
        try:
            figure = interval(part, metric, seed=seed)
        except DataError as error:
            error.where = f"the slice {name!r}"
            raise DataError(
                error.problem, where=error.where, got=error.got, expected=error.expected,
                next_step=error.next_step,
            ) from None  # fmt: skip
        inside = {id(r) for r in part}
        out.append(Slice(name, figure, _value([r for r in rows if id(r) not in inside], metric)))
    return sorted(out, key=lambda s: (s.figure.value, s.name))


def _value(rows: Sequence[Row], metric: str | Callable[[Sequence[Row]], float]) -> float:
    try:
        return _scorer(rows, metric)(np.arange(len(rows))) if rows else math.nan
    except DataError:
        return math.nan


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
