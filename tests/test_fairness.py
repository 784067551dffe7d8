"""Probes, gaps and mitigation on the shop's own tickets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from word_counter import Counter, intents

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.examine import fairness, mitigate

GROUP = "customer_group"


@cache
def urgency() -> Counter:
    return Counter("urgency")


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("My wife lost her ticket. Ask HER.", "My husband lost his ticket. Ask HIM.",
         "My wife lost her ticket. Ask HER."),
        ("He's at his son's. Mr Hale", "He's at his son's. Mr Hale",
         "She's at her daughter's. Mrs Hale"),
        ("I saw him and his dog", "I saw him and his dog", "I saw her and her dog"),
    ],
)  # fmt: skip
def test_words_are_swapped_whole_and_keep_their_capitals(text: str, left: str, right: str) -> None:
    assert fairness.versions(text, fairness.PROBES["gender"]) == [(left, right)]


def test_a_text_without_the_words_gives_no_pair_and_a_template_gives_every_pair() -> None:
    assert fairness.versions("The manual is in the shed.", fairness.PROBES["gender"]) == []
    found = fairness.versions("Zip {broken}.", fairness.PROBES["region"])
    assert found[0] == ("Zip {broken}. I live in London.", "Zip {broken}. I live in Lagos.")
    assert len(found) == 3


def test_a_classifier_that_counts_names_is_caught_and_a_deaf_one_is_not() -> None:
    texts = [r["text"] for r in intents().test[:40]]

    def biased(made: Sequence[str]) -> np.ndarray:
        heard = np.array([0.9 if "Fatima" in t else 0.2 for t in made])
        return np.stack([heard, 1 - heard], 1)

    found = fairness.probe(biased, ["high", "low"], texts, "signature, origin")
    assert found.pairs == 160 and found.flips.rows == 40
    assert found.flips.value == pytest.approx(0.25)  # one pair in four holds the name
    assert found.shift["high"].value == pytest.approx(0.7 / 4)
    assert found.change.value == pytest.approx(0.7 / 4)
    assert len(found.flipped) == 40 and "Fatima" in found.flipped[0][1]
    deaf = fairness.probe(
        lambda made: np.tile([0.3, 0.7], (len(made), 1)), ["high", "low"], texts, "region"
    )
    assert deaf.flips.value == 0 and deaf.change.value == 0
    assert 0.05 < deaf.flips.high < 0.1, "40 texts do not prove that no text flips"


def test_every_probe_runs_on_the_tickets() -> None:
    counter = intents()
    texts = [r["text"] for r in counter.test]
    for name in fairness.PROBES:
        found = fairness.probe(counter.predict, counter.labels, texts, name)
        assert 0 <= found.flips.low <= found.flips.value <= found.flips.high < 0.3
        assert sum(s.value for s in found.shift.values()) == pytest.approx(0, abs=1e-9)
        assert found.flips.rows > 50


def test_probes_refuse_what_cannot_be_probed() -> None:
    counter = intents()
    with pytest.raises(UnknownNameError, match="did you mean 'dialect'"):
        fairness.probe(counter.predict, counter.labels, ["a"], "dialct")
    with pytest.raises(DataError, match="the probe changes no text; got 1 texts; expected words"):
        fairness.probe(counter.predict, counter.labels, ["A zip."], "gender")
    with pytest.raises(DataError, match=r"wrong shape; got \(2, 8\); expected \[2, 2\]"):
        fairness.probe(counter.predict, ["x", "y"], ["He left."], "gender")


def test_rates_are_what_counting_gives() -> None:
    rows = urgency().test
    found = fairness.group_rates(rows, GROUP, "high")
    assert sum(r["accuracy"].rows for r in found.values()) == 200
    trade = [r for r in rows if r[GROUP] == "trade"]
    high = [r for r in trade if r["gold"] == "high"]
    missed = np.mean([r["prediction"] != "high" for r in high])
    assert found["trade"]["false_negative"].value == pytest.approx(missed)
    assert found["trade"]["false_negative"].rows == len(high)
    gap = fairness.gaps(rows, GROUP, "high")["false_negative"]
    rates = {g: r["false_negative"].value for g, r in found.items()}
    assert gap.value.value == pytest.approx(max(rates.values()) - min(rates.values()))
    assert (gap.lowest, gap.highest) == (min(rates, key=rates.get), max(rates, key=rates.get))


def test_random_groups_gap_by_chance_and_a_planted_gap_does_not() -> None:
    rows = [dict(r) for r in urgency().test]
    rng = np.random.default_rng(3)
    for row in rows:
        row["coin"] = "ab"[int(rng.integers(2))]
    assert fairness.gaps(rows, "coin", "high")["accuracy"].p > 0.05
    for row in rows:
        if row["coin"] == "a":
            row["prediction"] = "low" if row["gold"] == "high" else row["prediction"]
    planted = fairness.gaps(rows, "coin", "high")["false_negative"]
    assert planted.p < 0.01 and planted.highest == "a" and planted.value.low > planted.chance


def test_groups_that_cannot_be_compared_are_named() -> None:
    rows = urgency().test
    lonely = [r for r in rows if r[GROUP] != "trade" or r["gold"] != "high"]
    with pytest.raises(DataError, match="the group 'trade' has rows of one class only; got 0 of"):
        fairness.gaps(lonely, GROUP, "high")
    with pytest.raises(DataError, match="one group has nothing to differ from; got trade"):
        fairness.group_rates([r for r in rows if r[GROUP] == "trade"], GROUP, "high")
    with pytest.raises(UnknownNameError, match="did you mean 'high'"):
        fairness.gaps(rows, GROUP, "hihg")
    with pytest.raises(UnknownNameError, match="did you mean 'customer_group'"):
        fairness.gaps(rows, "custmer_group", "high")


def test_reweighing_makes_group_and_label_independent() -> None:
    counter = urgency()
    groups = [counter.columns[r.id][GROUP] for r in counter.splits.train]
    labels = [str(r.label) for r in counter.splits.train]
    weights = mitigate.reweigh(groups, labels)
    assert weights.sum() == pytest.approx(1200)
    kept = np.array(groups)[:, None] == sorted(set(groups))
    shares = [
        weights[(np.array(labels) == "high") & inside].sum() / weights[inside].sum()
        for inside in kept.T
    ]
    assert shares == pytest.approx([labels.count("high") / 1200] * len(shares), abs=1e-9)
    drawn = mitigate.resample(counter.splits.train, weights, seed=1)
    assert len(drawn) == 1200
    times = [sum(d.id == r.id for d in drawn) for r in counter.splits.train[:60]]
    assert all(abs(t - w) < 1 for t, w in zip(times, weights, strict=False))


def test_of_two_thresholds_equally_close_the_one_that_calls_a_row_is_taken() -> None:
    rows = [
        {"id": str(i), "gold": "yes", "prediction": called, "group": group,
         "probabilities": {"yes": p, "no": 1 - p}}
        for i, (group, called, p) in enumerate(
            [("a", "yes", 0.9), ("b", "no", 0.2), ("c", "yes", 0.8), ("c", "no", 0.3)]
        )
    ]  # fmt: skip
    found = mitigate.group_thresholds(rows, "group", "yes")
    assert 0 < found["a"] <= 0.9 and 0 < found["b"] <= 0.2, "neither nobody nor whoever comes"
    assert 0.3 < found["c"] <= 0.8


def test_thresholds_bring_the_groups_together_on_validation_and_cost_is_told() -> None:
    counter = urgency()
    before = fairness.gaps(counter.validation, GROUP, "high")["false_negative"].value.value
    chosen = mitigate.group_thresholds(counter.validation, GROUP, "high")
    fitted = mitigate.apply_thresholds(counter.validation, GROUP, "high", chosen)
    assert fairness.gaps(fitted, GROUP, "high")["false_negative"].value.value < before / 2
    after = mitigate.apply_thresholds(counter.test, GROUP, "high", chosen)
    found = mitigate.cost(counter.test, after, GROUP, "high")
    assert found.difference.value == pytest.approx(found.accuracy_after - found.accuracy_before)
    assert found.difference.low <= found.difference.value <= found.difference.high
    assert found.gaps_before == fairness.gaps(counter.test, GROUP, "high")
    for row in after:
        above = row["probabilities"]["high"] >= chosen[row[GROUP]]
        assert (row["prediction"] == "high") == above


def test_mitigation_refuses_what_does_not_fit() -> None:
    counter = urgency()
    with pytest.raises(DataError, match="reweighing needs at least two groups"):
        mitigate.reweigh(["a", "a"], ["x", "y"])
    with pytest.raises(UsageError, match="a group and a label a row; got 1 and 2"):
        mitigate.reweigh(["a"], ["x", "y"])
    with pytest.raises(UsageError, match="got 1 weights for 2 rows"):
        mitigate.resample([1, 2], [1.0])
    with pytest.raises(UnknownNameError, match="did you mean 'false_negative'"):
        mitigate.group_thresholds(counter.validation, GROUP, "high", "false_negatives")
    with pytest.raises(UnknownNameError, match="unknown class 'hgh'"):
        mitigate.group_thresholds(counter.validation, GROUP, "hgh")
    with pytest.raises(DataError, match="the group 'international' has no threshold"):
        mitigate.apply_thresholds(counter.test, GROUP, "high", {"first_time": 0.5})
    with pytest.raises(DataError, match="the two are not on the same rows; got test-0001"):
        mitigate.cost(counter.test, counter.test[1:], GROUP, "high")
    lost = [r for r in counter.validation if r[GROUP] != "trade" or r["gold"] != "high"]
    with pytest.raises(DataError, match="no row of the group 'trade' counts for false_negative"):
        mitigate.group_thresholds(lost, GROUP, "high")
