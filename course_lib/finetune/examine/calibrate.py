"""Is a classifier as sure as it should be? Calibration, temperature scaling, abstention.

Rows are predictions with ``probabilities`` by class; *confidence* is that of the class called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib import metrics
from course_lib.errors import DataError, UsageError
from course_lib.finetune.examine.diagnose import Estimate, Row, check_rows, share

SMALLEST = 5e-7  # half the last digit a run keeps of a probability; its logarithm stays finite
TEMPERATURES = (0.05, 20.0)  # where the temperature is looked for


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like confidence: their mean confidence, and how many of them are right."""

    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well confidence and accuracy agree.

    Attributes:
        ece: expected calibration error, mean |confidence - accuracy| over the bins weighted
            by rows. Few rows push it up, and a bootstrap pushes it up once more, so it has
            no interval; ``chance`` is what to hold it against.
        chance: what a perfectly calibrated model with these confidences would show, and the
            middle 95% of that; an ``ece`` inside says that nothing is proved.
        too_sure: mean confidence minus accuracy, with its bootstrap interval; below 0 the
            model is not sure enough.
        loss: negative log-likelihood of the true class, nats a row, with its interval.
        accuracy, confidence: means over all rows.
        bins: equal numbers of rows, least sure first.
    """

    ece: float
    chance: Estimate
    too_sure: Estimate
    loss: Estimate
    accuracy: float
    confidence: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Temperature:
    """A fitted temperature: above 1 the model was too sure, below 1 not sure enough.

    Attributes:
        value: what logits are divided by.
        rows: validation rows it was fitted on, and ``ids``, theirs.
        loss_before, loss_after: negative log-likelihood on those rows, nats a row.
    """

    value: float
    rows: int
    ids: frozenset[str]
    loss_before: float
    loss_after: float

    def apply(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Give the rows with tempered probabilities; predictions stay what they were."""
        names, table, _ = arrays(rows)
        tempered = _softmax(np.log(np.maximum(table, SMALLEST)) / self.value)
        return [
            {**row, "probabilities": dict(zip(names, map(float, p), strict=True))}
            for row, p in zip(rows, tempered, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Point:
    """Answering only where confidence reaches ``threshold``.

    Attributes:
        threshold: the smallest confidence that is answered.
        coverage: share of rows answered.
        accuracy: among the answered rows, with its Wilson interval and their number.
    """

    threshold: float
    coverage: float
    accuracy: Estimate


def arrays(rows: Sequence[Row]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Give class names, probabilities ``[rows, classes]`` and true class numbers ``[rows]``.

    Raises:
        DataError: naming the row whose probabilities are missing, lie outside 0 to 1, do not
            sum to 1 (within 0.001) or name other classes, or whose true class has none.
        UnknownNameError: for rows without ``probabilities``.
    """
    check_rows(rows, "probabilities")
    names = list(rows[0]["probabilities"])
    for place, row in enumerate(rows):
        where, found = f"row {row.get('id', place + 1)}", row["probabilities"]
        if not isinstance(found, Mapping) or set(found) != set(names):
            got = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise DataError("other classes", where=where, got=got, expected=", ".join(names))
        values = np.array([found[name] for name in names], dtype=float)
        if not (values >= 0).all() or abs(values.sum() - 1) > 1e-3:
            raise DataError(
                "these are not probabilities",
                where=where,
                got=f"smallest {values.min():.4g}, sum {values.sum():.4g}",
                expected="numbers from 0 to 1 that sum to 1",
                next_step="put logits through softmax first",
            )
        if row["gold"] not in found or row["prediction"] not in found:
            raise DataError(
                "a class without probability",
                where=where,
                got=f"{row['gold']!r} called {row['prediction']!r}",
                expected=", ".join(names),
            )
    table = np.array([[float(r["probabilities"][n]) for n in names] for r in rows])
    return names, table, np.array([names.index(r["gold"]) for r in rows])


def confidences(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Give each row's confidence, and 1.0 where it is right, both float64 ``[rows]``."""
    arrays(rows)  # refuses what is not sound
    sure = np.array([float(r["probabilities"][r["prediction"]]) for r in rows])
    return sure, np.array([float(r["gold"] == r["prediction"]) for r in rows])


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _losses(table: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return np.asarray(-np.log(np.maximum(table[np.arange(len(gold)), gold], SMALLEST)))


def _ece(sure: np.ndarray, right: np.ndarray, bins: int) -> float:
    """Give the expected calibration error over bins of equal mass."""
    order = np.argsort(sure, kind="stable")
    gap = np.array([part.sum() for part in np.array_split((sure - right)[order], bins)])
    return float(np.abs(gap).sum() / len(sure))


def reliability(rows: Sequence[Row], bins: int = 10, *, seed: int = 0) -> Reliability:
    """Measure calibration: ECE of the called class over bins of equal mass.

    ECE as in Guo et al. (2017), with equal-mass bins (Nguyen & O'Connor 2015), which leave
    no bin nearly empty; ``chance`` is the consistency resampling of Bröcker & Smith (2007).

    Args:
        rows: predictions with probabilities.
        bins: how many.
        seed: of the resampling.

    Raises:
        UsageError: for fewer than two rows a bin.
        DataError: for rows without sound probabilities (see :func:`arrays`).
    """
    _, table, gold = arrays(rows)
    sure, right = confidences(rows)
    if not 1 <= bins <= len(rows) // 2:
        most = f"1 to {len(rows) // 2} for {len(rows)} rows"
        raise UsageError("this number of bins cannot be filled", got=str(bins), expected=most)
    rng, count = np.random.default_rng(seed), len(rows)
    coins = rng.random((metrics.RESAMPLES, count)) < sure
    perfect = np.array([_ece(sure, coin.astype(float), bins) for coin in coins])
    low, high = np.quantile(perfect, [0.025, 0.975])

    def mean(values: np.ndarray) -> Estimate:
        low, high = metrics.bootstrap_interval(values.tolist(), seed=seed)
        return Estimate(float(values.mean()), low, high, count)

    parts = np.array_split(np.argsort(sure, kind="stable"), bins)
    return Reliability(
        ece=_ece(sure, right, bins),
        chance=Estimate(float(perfect.mean()), float(low), float(high), count),
        too_sure=mean(sure - right),
        loss=mean(_losses(table, gold)),
        accuracy=float(right.mean()),
        confidence=float(sure.mean()),
        bins=tuple(Bin(float(sure[p].mean()), share(right[p])) for p in parts),
    )


def fit_temperature(validation: Sequence[Row]) -> Temperature:
    """Fit the one number that makes validation rows likeliest (Guo et al. 2017).

    Probabilities become softmax(log p / T), which is softmax(logits / T). Fit it on validation
    rows; rows it was fitted on say nothing about how well it works.

    Raises:
        DataError: when the best temperature lies at an end of ``TEMPERATURES``, as when all
            rows are right or there are few; or for unsound probabilities.
    """
    from scipy.optimize import minimize_scalar

    _, table, gold = arrays(validation)
    logits = np.log(np.maximum(table, SMALLEST))

    def loss(log_t: float) -> float:
        return float(_losses(_softmax(logits / np.exp(log_t)), gold).mean())

    low, high = np.log(TEMPERATURES)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    all_right = bool((table.argmax(1) == gold).all())  # the colder the better, without end
    if all_right or min(best.x - low, high - best.x) < 1e-3:
        raise DataError(
            "no temperature fits these rows",
            got=f"{len(validation)} rows" + (", all right" if all_right else ""),
            expected=f"a best value between {TEMPERATURES[0]} and {TEMPERATURES[1]}",
            next_step="give more validation rows, right and wrong ones",
        )
    ids = frozenset(str(r["id"]) for r in validation if "id" in r)
    return Temperature(float(np.exp(best.x)), len(validation), ids, loss(0.0), float(best.fun))


def before_and_after(
    validation: Sequence[Row], test: Sequence[Row], bins: int = 10
) -> tuple[Reliability, Reliability, Temperature]:
    """Fit the temperature on validation rows and measure the test rows without and with it.

    Raises:
        DataError: when a row lies in both, naming it; see also :func:`fit_temperature`.
    """
    fitted = fit_temperature(validation)
    shared = [str(r["id"]) for r in test if str(r.get("id")) in fitted.ids]
    if shared:
        raise DataError(
            "a test row was used to fit the temperature",
            where=f"row {shared[0]}",
            got=f"{len(shared)} shared rows",
            next_step="fit on the validation split and measure on the test split",
        )
    return reliability(test, bins), reliability(fitted.apply(test), bins), fitted


def abstention(rows: Sequence[Row]) -> list[Point]:
    """Give accuracy against coverage at every threshold there is, full coverage first."""
    sure, right = confidences(rows)
    return [_point(sure, right, float(t)) for t in np.unique(sure)]


def answered(rows: Sequence[Row], threshold: float) -> Point:
    """Measure a threshold on rows it was not chosen on.

    Raises:
        DataError: when no row reaches it.
    """
    sure, right = confidences(rows)
    if not (sure >= threshold).any():
        raise DataError(
            "no row reaches this confidence",
            got=f"{threshold:.3f}",
            expected=f"at most {sure.max():.3f}",
        )
    return _point(sure, right, threshold)


def _point(sure: np.ndarray, right: np.ndarray, threshold: float) -> Point:
    kept = right[sure >= threshold]
    return Point(threshold, len(kept) / len(right), share(kept))


def threshold_for(validation: Sequence[Row], accuracy: float, *, sure: bool = False) -> Point:
    """Choose the lowest threshold whose answered rows reach an accuracy, on validation rows.

    Trying many thresholds flatters the one taken: measure it with :func:`answered` on test
    rows. With ``sure`` the lower end of the interval has to reach the accuracy.

    Raises:
        UsageError: for an accuracy that is not between 0 and 1.
        DataError: when no threshold reaches it, with the best there is.
    """
    if not 0 < accuracy <= 1:
        raise UsageError("an accuracy lies between 0 and 1", got=str(accuracy))
    points = abstention(validation)
    for point in points:
        if (point.accuracy.low if sure else point.accuracy.value) >= accuracy:
            return point
    best = max(points, key=lambda p: p.accuracy.low if sure else p.accuracy.value)
    raise DataError(
        f"no threshold reaches an accuracy of {accuracy}" + (" for sure" if sure else ""),
        got=f"at best {best.accuracy.value:.3f} (lower end {best.accuracy.low:.3f}) on "
        f"{best.accuracy.rows} rows",
        next_step="ask for less, or give more validation rows",
    )
