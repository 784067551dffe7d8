"""Balancing: rows left out or repeated, class weights, SMOTE on frozen embeddings.

    even = balance(data.train, "over", seed=1)
    even.report["before"], even.report["after"]

Balance the training rows alone, and after the splits are cut: a repeated row on both sides of
a cut is leakage. Validation and test keep the shares the model will meet.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.records import Example
from course_lib.finetune.text.words import check_training

METHODS = ("over", "under")


@dataclass(frozen=True, slots=True)
class Balanced:
    """Rows after balancing, and what was done.

    Attributes:
        rows: in their order; repeated rows follow, with ids ``ID~2``, ``ID~3`` ... and a group
            that keeps them with their row in a later cut.
        report: ``method``, ``seed``, ``before`` and ``after`` (rows by label), ``repeated``,
            ``left_out``.
    """

    rows: tuple[Example, ...]
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resampled:
    """Feature vectors after SMOTE.

    Attributes:
        features: float ``[rows, width]`` (sparse where sparse was given): those given, then the
            made ones; labels: one a row.
        report: ``before`` and ``after`` (rows by label), ``made``, ``neighbours`` used.
    """

    features: Any
    labels: tuple[str, ...]
    report: Mapping[str, Any]


def _counts(labels: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(labels).items()))


def balance(rows: Sequence[Example], method: str, seed: int = 0) -> Balanced:
    """Bring every class to the size of the largest (``over``) or the smallest (``under``).

    ``over`` repeats rows drawn with replacement, ``under`` leaves rows out.

    Args:
        rows: labelled texts of a training split, at least two classes.
        method: ``over`` or ``under``.
        seed: of the draw.

    Raises:
        UnknownNameError: for another method, with close matches.
        DataError: for no rows, one class, or rows without text or label.
        UsageError: for rows of a validation or test split.
    """
    drawing = sampler(method, seed)
    check_training(rows, "balanced")
    labels = [str(r.label) for r in rows]
    drawing.fit_resample(np.arange(len(rows))[:, None], labels)
    times = Counter(int(i) for i in drawing.sample_indices_)
    first = [
        dataclasses.replace(r, group=r.group or r.id) if times[i] > 1 else r
        for i, r in enumerate(rows)
        if times[i]
    ]
    again = [
        dataclasses.replace(r, id=f"{r.id}~{n}", group=r.group or r.id)
        for i, r in enumerate(rows)
        for n in range(2, times[i] + 1)
    ]
    made = (*first, *again)
    report = {
        "method": method,
        "seed": seed,
        "before": _counts(labels),
        "after": _counts([str(r.label) for r in made]),
        "repeated": len(again),
        "left_out": len(rows) - len(first),
    }
    return Balanced(made, report)


def sampler(method: str, seed: int = 0) -> Any:
    """Give imbalanced-learn's random over- or under-sampler, for feature vectors and labels.

    Raises:
        UnknownNameError: for another method than ``over`` and ``under``, with close matches.
    """
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    if method not in METHODS:
        raise UnknownNameError("balancing", method, METHODS)
    return (RandomOverSampler if method == "over" else RandomUnderSampler)(random_state=seed)


def long_tail(rows: Sequence[Example], ratio: float = 20.0, seed: int = 0) -> Balanced:
    """Thin rows out to an imbalanced set: class sizes fall geometrically (Cui et al. 2019).

    Args:
        rows: labelled texts of a training split.
        ratio: the largest class to the smallest, at least 1; one row of each class is kept.
        seed: of the order of the classes and of the rows kept.

    Raises:
        UsageError: for a ratio below 1; DataError: as :func:`balance`.
    """
    if not ratio >= 1:
        raise UsageError("ratio is out of range", got=repr(ratio), expected="at least 1")
    check_training(rows, "thinned out")
    rng = random.Random(seed)
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(str(row.label), []).append(place)
    order = sorted(places)
    rng.shuffle(order)
    most, kept = max(map(len, places.values())), set()
    for rank, label in enumerate(order):
        size = max(1, round(most * ratio ** (-rank / (len(order) - 1))))
        kept |= set(rng.sample(places[label], min(size, len(places[label]))))
    made = tuple(row for place, row in enumerate(rows) if place in kept)
    report = {
        "method": "long_tail",
        "seed": seed,
        "before": _counts([str(r.label) for r in rows]),
        "after": _counts([str(r.label) for r in made]),
        "repeated": 0,
        "left_out": len(rows) - len(made),
    }
    return Balanced(made, report)


def class_weights(rows: Sequence[Example]) -> dict[str, float]:
    """Give each class the weight ``rows / (classes * rows of the class)`` (King and Zeng 2001).

    The mean weight over the rows is 1, so a weighted loss keeps its scale. For a classifier
    run these weigh each row's loss; for scikit-learn they are ``class_weight="balanced"``.

    Raises:
        DataError: as :func:`balance`.
    """
    from sklearn.utils.class_weight import compute_class_weight

    check_training(rows, "weighted")
    labels = [str(r.label) for r in rows]
    names = np.array(sorted(set(labels)))
    found = compute_class_weight("balanced", classes=names, y=labels)
    return {str(n): float(w) for n, w in zip(names, found, strict=True)}


def embed(texts: Sequence[str], base: str = "embedded") -> np.ndarray:
    """Give frozen features: the mean of a base's last hidden states over a text's tokens.

    Args:
        texts: one or more, cut to the base's context.
        base: ``embedded``, a folder or a Hub id.

    Returns:
        float32 ``[texts, width]``.

    Raises:
        DataError: for no texts or an empty one.
    """
    import torch

    from course_lib.finetune import prepare
    from course_lib.finetune.batch import plain_batches
    from course_lib.finetune.model import context_of, load_base

    empty = next((i for i, t in enumerate(texts) if not t.strip()), None)
    if not len(texts) or empty is not None:
        where = "" if empty is None else f"text {empty + 1}"
        raise DataError("no text to embed", where=where, expected="texts with words in them")
    model, tokenizer = load_base(base, task="language-modeling")
    rows = [Example(id=str(i), text=t) for i, t in enumerate(texts)]
    data = prepare.classification(rows, tokenizer, context_of(model), [""])
    found = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    with torch.no_grad():
        for group, batch in plain_batches(data, budget=8192, pad_id=tokenizer.pad_token_id):
            mask = batch["attention_mask"]
            hidden = model.base_model(input_ids=batch["input_ids"], attention_mask=mask)
            weights = mask[..., None].float()
            total = (hidden.last_hidden_state.float() * weights).sum(1)
            found[group] = (total / weights.sum(1)).numpy()
    return found


def smote(features: Any, labels: Sequence[str], seed: int = 0, *, neighbours: int = 5) -> Resampled:
    """Fill small classes with points between a row and one of its neighbours (Chawla et al. 2002).

    For feature vectors alone: there is no text between two texts. In many dimensions with few
    rows the made points lie on short lines between known ones and add little over repeating
    rows; with labels that are partly wrong they spread the errors. Compare first
    (``gain.measure_balancing``).

    Args:
        features: ``[rows, width]``, such as :func:`embed` gives, or sparse.
        labels: one a row; at least two classes, each with at least two rows.
        seed: of the choice of rows and places.
        neighbours: to draw from; lowered to what the smallest class has.

    Raises:
        DataError: for no rows, one class, unequal lengths, or a class of one row.
        UsageError: for fewer than one neighbour.
    """
    from imblearn.over_sampling import SMOTE

    before = _counts([str(label) for label in labels])
    rows = int(features.shape[0])
    if not rows or rows != len(labels) or len(before) < 2:
        raise DataError(
            "SMOTE needs a label for each row and two classes or more",
            got=f"{rows} rows, {len(labels)} labels, classes {', '.join(before) or 'none'}",
        )
    if neighbours < 1:
        raise UsageError("neighbours must be at least 1", got=str(neighbours))
    smallest = min(before, key=before.__getitem__)
    if before[smallest] < 2:
        raise DataError(
            "SMOTE cannot make rows between a row and itself",
            got=f"one row of {smallest!r}",
            expected="at least two rows of every class",
            next_step="collect more rows of it, or use balance(rows, 'over') or class weights",
        )
    used = min(neighbours, before[smallest] - 1)
    made, named = SMOTE(random_state=seed, k_neighbors=used).fit_resample(features, list(labels))
    after = tuple(str(label) for label in named)
    report = {
        "before": before,
        "after": _counts(after),
        "made": len(after) - rows,
        "neighbours": used,
    }
    return Resampled(made, after, report)
