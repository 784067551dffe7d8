"""Labels: how far two annotators agree, how a third word settles it, which labels look wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from course_lib.errors import DataError, UnknownNameError

RULES = ("agree", "third", "by_hand")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two annotators on the same rows.

    Attributes:
        kappa: Cohen's kappa, 1 = always agreed, 0 = as often as by chance.
        kappa_interval: 95% bootstrap interval over rows.
        accuracy: share of rows with the same label.
        labels: the classes, sorted.
        confusion: counts; row = label of the first annotator, column = of the second.
    """

    kappa: float
    kappa_interval: tuple[float, float]
    accuracy: float
    rows: int
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """One row's label after adjudication: ``rule`` of ``RULES`` gave it, or label is None: open."""

    id: str
    label: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that may be wrong.

    Attributes:
        place: the row's place; given: its label; suggested: the most probable class.
        score: margin of ``suggested`` over ``given`` in out-of-fold probability, -1 to 1.
        confident: whether the rule of confident learning counts it as an error.
    """

    place: int
    given: str
    suggested: str
    score: float
    confident: bool


def _pair(first: Sequence[str], second: Sequence[str]) -> None:
    if not len(first) or len(first) != len(second):
        raise DataError(
            "not two annotators of the same rows",
            got=f"{len(first)} and {len(second)} labels",
            expected="as many of both, at least one",
            next_step="give one label a row from each annotator, in the same order",
        )


def _kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa of tables ``[..., labels, labels]`` (Cohen 1960); NaN where chance is 1."""
    total = confusion.sum(axis=(-2, -1))
    seen = np.trace(confusion, axis1=-2, axis2=-1) / total
    chance = (confusion.sum(-1) * confusion.sum(-2)).sum(-1) / total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((seen - chance) / (1 - chance))


def agreement(
    first: Sequence[str], second: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> Agreement:
    """Measure how far two annotators agree beyond chance (scikit-learn's Cohen's kappa).

    The interval comes from ``resamples`` draws of the rows with replacement.

    Raises:
        DataError: for no rows, lists of unequal length, or a single class in all of them
            (kappa is then undefined).
    """
    from sklearn.metrics import cohen_kappa_score, confusion_matrix

    _pair(first, second)
    labels = sorted({*first, *second})
    if len(labels) < 2:
        raise DataError(
            "both annotators used one class only: kappa is undefined", got=repr(labels[0]),
            expected="at least two classes",
        )  # fmt: skip
    table = confusion_matrix(first, second, labels=labels)
    draws = np.random.default_rng(seed).multinomial(
        len(first), table.ravel() / len(first), size=resamples
    )
    kappas = _kappa(draws.reshape(-1, len(labels), len(labels)))
    low, high = np.nanpercentile(kappas, [2.5, 97.5])
    return Agreement(
        kappa=float(cohen_kappa_score(first, second, labels=labels)),
        kappa_interval=(float(low), float(high)),
        accuracy=float(np.trace(table) / len(first)),
        rows=len(first),
        labels=tuple(labels),
        confusion=tuple(tuple(int(n) for n in row) for row in table),
    )


def disagreements(
    first: Mapping[str, str], second: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Give ``(id, first label, second label)`` of each row labelled differently.

    The commonest pair of labels comes first, so that one reads a confusion at a time.

    Raises:
        DataError: when the two did not label the same ids.
    """
    _pair(list(first), list(second))
    if missing := first.keys() ^ second.keys():
        raise DataError(
            "the annotators did not label the same rows",
            got=f"{len(missing)} ids that only one of them has, such as {sorted(missing)[0]!r}",
            expected="the same ids",
        )
    apart = [(key, a, second[key]) for key, a in first.items() if a != second[key]]
    often = Counter(frozenset((a, b)) for _, a, b in apart)
    return sorted(apart, key=lambda row: (-often[frozenset(row[1:])], sorted(row[1:]), row[0]))


def adjudicate(
    first: Mapping[str, str],
    second: Mapping[str, str],
    *,
    third: Mapping[str, str] | None = None,
    by_hand: Mapping[str, str] | None = None,
    rules: Sequence[str] = RULES,
) -> list[Settled]:
    """Settle each row's label by the first rule that can; what none settles stays open.

    ``agree``: both gave it. ``third``: a third annotator sided with one of them.
    ``by_hand``: a list of decisions.

    Raises:
        DataError: when the annotators did not label the same ids, or a decision by hand names
            an id that nobody labelled.
        UnknownNameError: for a rule that is not one of ``RULES``.
    """
    for rule in rules:
        if rule not in RULES:
            raise UnknownNameError("rule", rule, RULES)
    third, by_hand = third or {}, by_hand or {}
    disagreements(first, second)
    if strays := by_hand.keys() - first.keys():
        raise DataError("a decision for a row nobody labelled", got=repr(sorted(strays)[0]))
    settled = []
    for key, one in first.items():
        two = second[key]
        given = {
            "agree": one if one == two else None,
            "third": third.get(key) if third.get(key) in (one, two) else None,
            "by_hand": by_hand.get(key),
        }
        rule = next((r for r in rules if given[r] is not None), "")
        settled.append(Settled(key, given[rule] if rule else None, rule))
    return settled


def out_of_fold(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give each row's class probabilities from a model that never saw its group.

    TF-IDF (words 1-2 and characters 2-4) and logistic regression (scikit-learn), stratified folds.

    Args:
        groups: rows of a group fall into one fold; default the exact and near duplicates.

    Returns:
        Probabilities ``[rows, classes]``, float64, and the classes, sorted.

    Raises:
        DataError: for fewer than two classes, or fewer than ``folds`` groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    from course_lib.finetune.baselines import tfidf
    from course_lib.finetune.text.duplicates import duplicate_groups

    classes = tuple(sorted(set(labels)))
    owners = duplicate_groups(texts) if groups is None else list(groups)
    if len(texts) != len(labels) or len(classes) < 2 or len(set(owners)) < folds:
        raise DataError(
            "too few rows to hold some out",
            got=f"{len(texts)} texts, {len(labels)} labels, {len(classes)} classes, "
            f"{len(set(owners))} groups",
            expected=f"a label a text, two classes and {folds} groups that are no copies",
            next_step="give more rows, or fewer folds",
        )
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = cross_val_predict(
        tfidf(), np.array(texts, dtype=object), np.array(labels), cv=cut,
        groups=[numbers[owner] for owner in owners], method="predict_proba",
    )  # fmt: skip
    return np.asarray(found), classes


def label_errors(
    labels: Sequence[str],
    *,
    texts: Sequence[str] | None = None,
    probabilities: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> list[Suspect]:
    """Rank all rows by how likely their label is wrong, the most suspect first.

    By out-of-fold confidence: ``score`` is the probability of the best other class less that of
    the given one. ``confident``: another class has at least the mean confidence of the rows
    labelled with it (confident learning, Northcutt et al. 2021, arXiv:1911.00068).

    Args:
        texts: cross-validated with :func:`out_of_fold`, unless ``probabilities`` are given.
        probabilities: ``[rows, classes]`` of a model that was not trained on these rows.
        classes: what the columns stand for; default the sorted labels.

    Raises:
        DataError: when neither is given, the shapes do not fit, or a label is no class.
    """
    if probabilities is None and texts is not None:
        probabilities, classes = out_of_fold(texts, labels, groups=groups, seed=seed)
    classes = tuple(classes or sorted(set(labels)))
    shape = None if probabilities is None else np.shape(probabilities)
    if probabilities is None or shape != (len(labels), len(classes)) or not len(labels):
        raise DataError(
            "no probabilities for these labels",
            got=f"shape {shape}",
            expected=f"texts, or probabilities of shape {(len(labels), len(classes))}",
        )
    if strays := set(labels) - set(classes):
        raise DataError("a label that is no class", got=repr(sorted(strays)[0]))
    own = np.array([classes.index(label) for label in labels])
    every = np.arange(len(labels))
    given = probabilities[every, own]
    bars = [
        probabilities[own == c, c].mean() if (own == c).any() else 2 for c in range(len(classes))
    ]
    others = probabilities.copy()
    others[every, own] = -1
    best = others.argmax(axis=1)
    score = others[every, best] - given
    over = np.where(others >= np.array(bars), others, -1)
    confident = (over.max(axis=1) > given) & (over.max(axis=1) > 0)
    return [
        Suspect(int(i), labels[i], classes[best[i]], float(score[i]), bool(confident[i]))
        for i in np.argsort(-score, kind="stable")
    ]
