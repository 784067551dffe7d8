"""Calibration, temperature and abstention on the shop's own tickets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from word_counter import intents

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.examine import calibrate
from course_lib.show import diagnosis


def coin(count: int, sure: float, right: float) -> list[dict[str, object]]:
    """Give rows that are called ``a`` with one confidence, a share of them rightly."""
    return [
        {
            "id": str(i),
            "gold": "a" if i < right * count else "b",
            "prediction": "a",
            "probabilities": {"a": sure, "b": 1 - sure},
        }
        for i in range(count)
    ]


def test_ece_is_the_gap_of_confidence_and_accuracy() -> None:
    found = calibrate.reliability(coin(100, 0.9, 0.6) + coin(100, 0.7, 0.7), bins=2)
    assert found.ece == pytest.approx(0.15)  # (0.3 + 0.0) / 2
    assert [round(b.confidence, 6) for b in found.bins] == [0.7, 0.9]
    assert [b.accuracy.value for b in found.bins] == [0.7, 0.6]
    assert found.ece > found.chance.high, "far beyond what chance does"
    assert found.too_sure.value == pytest.approx(0.15) and found.too_sure.low > 0
    expected = -0.5 * (
        0.6 * math.log(0.9) + 0.4 * math.log(0.1) + 0.7 * math.log(0.7) + 0.3 * math.log(0.3)
    )
    assert found.loss.value == pytest.approx(expected)


def test_bins_hold_equal_numbers_of_rows_and_cover_all() -> None:
    found = calibrate.reliability(intents().test, bins=8)
    assert [b.accuracy.rows for b in found.bins] == [25] * 8
    assert [b.confidence for b in found.bins] == sorted(b.confidence for b in found.bins)
    assert np.mean([b.accuracy.value for b in found.bins]) == pytest.approx(found.accuracy)
    points = [(b.confidence, b.accuracy.value, b.accuracy.low, b.accuracy.high) for b in found.bins]
    assert len(diagnosis.reliability(points, ece=found.ece).axes[0].collections) == 1
    with pytest.raises(UsageError, match="got 101; expected 1 to 100 for 200 rows"):
        calibrate.reliability(intents().test, bins=101)


def test_a_calibrated_model_lies_inside_what_chance_gives() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(10):
        sure = rng.uniform(0.5, 1, 200)
        rows = [
            {
                "gold": "a" if rng.random() < s else "b",
                "prediction": "a",
                "probabilities": {"a": s, "b": 1 - s},
            }
            for s in sure
        ]
        found = calibrate.reliability(rows, seed=1)
        inside += found.chance.low <= found.ece <= found.chance.high
    assert inside >= 8


def test_temperature_undoes_a_known_sharpening() -> None:
    rows = intents().validation
    best = calibrate.fit_temperature(rows)
    sharp = calibrate.Temperature(0.5, 0, frozenset(), 0, 0).apply(rows)
    found = calibrate.fit_temperature(sharp)
    assert found.value == pytest.approx(2 * best.value, rel=0.01)
    assert found.loss_after == pytest.approx(best.loss_after, abs=1e-3)
    assert found.loss_after < found.loss_before


def test_temperature_is_fitted_on_validation_and_leaves_the_predictions() -> None:
    counter = intents()
    before, after, fitted = calibrate.before_and_after(counter.validation, counter.test)
    assert fitted.rows == 200 and fitted.loss_after < fitted.loss_before
    assert after.accuracy == before.accuracy
    assert after.loss.value < before.loss.value
    for old, new in zip(counter.test, fitted.apply(counter.test), strict=True):
        assert max(new["probabilities"], key=new["probabilities"].get) == old["prediction"]
        assert sum(new["probabilities"].values()) == pytest.approx(1)
    with pytest.raises(DataError, match=r"row test-0001: a test row was used .* 200 shared rows"):
        calibrate.before_and_after(counter.test, counter.test)


def test_no_temperature_fits_rows_that_are_all_right() -> None:
    with pytest.raises(DataError, match="no temperature fits these rows; got 50 rows, all right"):
        calibrate.fit_temperature(coin(50, 0.9, 1.0))
    with pytest.raises(DataError, match=r"expected a best value between 0\.05 and 20"):
        calibrate.fit_temperature(coin(50, 0.9, 0.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": 0.9, "b": 0.4}, r"row 0: these are not probabilities; got smallest 0.4, sum 1.3"),
        ({"a": 1.2, "b": -0.2}, r"not probabilities; got smallest -0.2"),
        ({"a": math.nan, "b": 0.5}, "not probabilities"),
        ({"b": 1.0}, "row 0: a class without probability; got 'a' called 'a'"),
    ],
)
def test_unsound_probabilities_are_refused(change: dict[str, float], message: str) -> None:
    row = {"id": "0", "gold": "a", "prediction": "a", "probabilities": change}
    with pytest.raises(DataError, match=message):
        calibrate.reliability([row] * 4, bins=2)


def test_missing_and_other_classes_are_refused() -> None:
    rows = coin(3, 0.9, 1.0)
    rows[2] = {**rows[2], "probabilities": {"a": 0.5, "c": 0.5}}
    with pytest.raises(DataError, match="row 2: other classes; got a, c; expected a, b"):
        calibrate.confidences(rows)
    with pytest.raises(UnknownNameError, match=r"unknown column .*'probabilities'"):
        calibrate.abstention([{"gold": "a", "prediction": "a"}])


def test_the_abstention_curve_starts_with_every_row_and_is_what_counting_gives() -> None:
    rows = intents().test
    points = calibrate.abstention(rows)
    assert points[0].coverage == 1.0 and points[0].accuracy.rows == 200
    assert [p.coverage for p in points] == sorted((p.coverage for p in points), reverse=True)
    middle = points[len(points) // 2]
    kept = [r for r in rows if r["probabilities"][r["prediction"]] >= middle.threshold]
    right = [r["gold"] == r["prediction"] for r in kept]
    assert middle.accuracy.value == pytest.approx(np.mean(right))
    assert points[-1].accuracy.low < points[-1].accuracy.high, "one sure row proves little"
    curve = [(p.coverage, p.accuracy.value, p.accuracy.low, p.accuracy.high) for p in points]
    assert diagnosis.coverage(curve, wanted=0.9).axes[0].get_xlabel() == "share of rows answered"


def test_a_threshold_chosen_on_validation_is_measured_on_test() -> None:
    counter = intents()
    whole = calibrate.abstention(counter.validation)[0].accuracy.value
    chosen = calibrate.threshold_for(counter.validation, whole + 0.06)
    assert chosen.accuracy.value >= whole + 0.06 and chosen.coverage < 1
    found = calibrate.answered(counter.test, chosen.threshold)
    assert found.threshold == chosen.threshold and 0 < found.coverage < 1
    careful = calibrate.threshold_for(counter.validation, whole + 0.02, sure=True)
    assert careful.accuracy.low >= whole + 0.02
    with pytest.raises(DataError, match=r"reaches an accuracy of 0\.9; got at best 0\.5"):
        calibrate.threshold_for(coin(10, 0.9, 0.5), 0.9)
    with pytest.raises(UsageError, match="between 0 and 1; got 90"):
        calibrate.threshold_for(counter.validation, 90)
    with pytest.raises(DataError, match="no row reaches this confidence"):
        calibrate.answered(counter.test, 1.5)
