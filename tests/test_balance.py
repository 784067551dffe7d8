"""Balancing: rows repeated or left out, weights, SMOTE on frozen features, what is refused."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune import data, splits
from course_lib.finetune.records import Example, Splits
from course_lib.finetune.text import balance, gain


@pytest.fixture(scope="module")
def tickets() -> Splits:
    return data.load("classification", "support_tickets", label_column="intent")


@pytest.fixture(scope="module")
def tail(tickets: Splits) -> tuple[Example, ...]:
    return balance.long_tail(tickets.train, ratio=10, seed=3).rows


def count(rows: tuple[Example, ...]) -> Counter[str]:
    return Counter(str(r.label) for r in rows)


def test_a_long_tail_falls_geometrically(tickets: Splits, tail: tuple[Example, ...]) -> None:
    sizes = sorted(count(tail).values(), reverse=True)
    assert len(sizes) == 8 and sizes[0] >= 148 and sizes[-1] == 15
    steps = [a / b for a, b in itertools.pairwise(sizes)]
    assert max(steps) < 1.1 * 10 ** (1 / 7) and min(steps) > 0.9 * 10 ** (1 / 7)
    assert balance.long_tail(tickets.train, ratio=10, seed=3).rows == tail
    assert balance.long_tail(tickets.train, ratio=10, seed=4).rows != tail
    assert len(balance.long_tail(tickets.train, ratio=1e9).rows) >= 8, "no class is lost"


@pytest.mark.parametrize("method", balance.METHODS)
def test_every_class_ends_with_as_many_rows(tail: tuple[Example, ...], method: str) -> None:
    made = balance.balance(tail, method, seed=1)
    wanted = (max if method == "over" else min)(count(tail).values())
    assert set(count(made.rows).values()) == {wanted}
    assert made.report["before"] == dict(sorted(count(tail).items()))
    assert made.report["after"] == dict(sorted(count(made.rows).items()))
    assert made.report["repeated"] - made.report["left_out"] == len(made.rows) - len(tail)
    assert len({r.id for r in made.rows}) == len(made.rows), "a repeated row has its own id"
    assert {r.text for r in made.rows} <= {r.text for r in tail}
    assert balance.balance(tail, method, seed=1) == made
    assert balance.balance(tail, method, seed=2).rows != made.rows


def test_repeated_rows_never_lie_on_both_sides_of_a_later_cut(tail: tuple[Example, ...]) -> None:
    made = balance.balance(tail, "over", seed=1).rows
    found = splits.cut("classification", {"train": made}, 0, [])
    texts = [{r.text for r in found[name]} for name in ("train", "validation", "test")]
    assert all(texts)
    assert not texts[0] & (texts[1] | texts[2]) and not texts[1] & texts[2]


def test_class_weights_are_scikit_learns_and_keep_the_scale(tail: tuple[Example, ...]) -> None:
    found, sizes = balance.class_weights(tail), count(tail)
    assert found == {label: pytest.approx(len(tail) / (8 * size)) for label, size in sizes.items()}
    assert np.mean([found[str(r.label)] for r in tail]) == pytest.approx(1)


def test_smote_fills_between_rows_of_a_class(tail: tuple[Example, ...]) -> None:
    found = count(tail[:50])
    small = [r for r in tail[:50] if found[str(r.label)] >= 3]
    features = balance.embed([r.text for r in small])
    assert features.shape == (len(small), 256) and features.dtype == np.float32
    labels = [str(r.label) for r in small]
    made = balance.smote(features, labels, seed=1)
    assert set(Counter(made.labels).values()) == {max(Counter(labels).values())}
    assert np.array_equal(made.features[: len(small)], features)
    assert made.report["made"] == len(made.labels) - len(small)
    assert made.report["neighbours"] == min(5, min(Counter(labels).values()) - 1)
    new, label = made.features[-1], made.labels[-1]
    own = features[[i for i, name in enumerate(labels) if name == label]]
    lengths = np.linalg.norm(own[:, None] - own[None], axis=-1)
    through = np.linalg.norm(own - new, axis=1)[:, None] + np.linalg.norm(own - new, axis=1)
    gap = (through - lengths + np.eye(len(own))).min()
    assert gap < 1e-2, "the made point lies on the line between two rows of its class"


def test_embedding_does_not_depend_on_the_batch(tiny_base: Path, tickets: Splits) -> None:
    texts = [r.text for r in tickets.validation[:6]]
    together = balance.embed(texts, str(tiny_base))
    alone = np.concatenate([balance.embed([t], str(tiny_base)) for t in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_balancing_is_measured_against_doing_nothing(tickets: Splits) -> None:
    found = {r["way"]: r for r in gain.measure_balancing(tickets, ratio=20, seeds=[0])}
    assert list(found) == list(gain.WAYS)
    assert found["over"]["rows"] > found["none"]["rows"] == found["weights"]["rows"]
    assert found["under"]["rows"] < found["none"]["rows"]
    assert found["over"]["recall_rare"] > found["none"]["recall_rare"]
    assert abs(found["over"]["f1_macro"] - found["weights"]["f1_macro"]) < 0.05
    assert found["smote"]["f1_by_seed"] == [found["smote"]["f1_macro"]]


def test_frozen_features_are_measured_too(tiny_base: Path, tickets: Splits) -> None:
    part = replace(tickets, train=splits.sample(tickets.train, 160, 0))
    ways = ("none", "smote")
    found = gain.measure_balancing(
        part, ratio=5, features="frozen", ways=ways, seeds=[0], base=str(tiny_base)
    )
    assert [r["way"] for r in found] == ["none", "smote"]
    assert found[1]["rows"] > found[0]["rows"] and 0 < found[1]["accuracy"] < 1


def test_wrong_calls_are_named(tickets: Splits, tail: tuple[Example, ...]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'under'"):
        balance.balance(tail, "undr")
    with pytest.raises(DataError, match="no rows to be balanced"):
        balance.balance([], "over")
    with pytest.raises(DataError, match=r"only one class.*at least two"):
        balance.balance([r for r in tail if r.label == "account"], "over")
    with pytest.raises(UsageError, match=r"never balanced.*\n.*training rows alone"):
        balance.balance(tickets.validation, "over")
    with pytest.raises(DataError, match="without text or label"):
        balance.class_weights([replace(tail[0], label=None), *tail])
    with pytest.raises(UsageError, match="ratio is out of range"):
        balance.long_tail(tail, ratio=0.5)
    with pytest.raises(UnknownNameError, match="did you mean 'weights'"):
        gain.measure_balancing(tickets, ways=["weight"])
    with pytest.raises(UnknownNameError, match="unknown features 'frosen'"):
        gain.measure_balancing(tickets, features="frosen")


def test_smote_says_why_it_cannot(tickets: Splits) -> None:
    points = np.eye(4)
    with pytest.raises(DataError, match=r"one row of 'b'.*at least two rows"):
        balance.smote(points, ["a", "a", "a", "b"])
    with pytest.raises(DataError, match="two classes or more"):
        balance.smote(points, ["a"] * 4)
    with pytest.raises(DataError, match="4 rows, 3 labels"):
        balance.smote(points, ["a", "a", "b"])
    with pytest.raises(UsageError, match="neighbours must be at least 1"):
        balance.smote(points, ["a", "a", "b", "b"], neighbours=0)
    with pytest.raises(DataError, match="text 2: no text to embed"):
        balance.embed([tickets.train[0].text, "  "])
