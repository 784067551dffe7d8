"""What faults in a data set cost: copies across a random cut, wrong labels, a foreign tokenizer.

All scores are accuracies of TF-IDF and logistic regression (``baselines.tfidf``), fast enough to
repeat over seeds; :func:`surprise` asks a language model.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.errors import DataError, UsageError
from course_lib.finetune.baselines import tfidf
from course_lib.finetune.records import Example, Splits
from course_lib.finetune.text import duplicates, ledger

Say = Callable[[str], None]
FEWEST = 4  # repeats below which an interval over them says nothing


@dataclass(frozen=True, slots=True)
class Cut:
    """One seed: the same rows cut at random and by group, 20% held out.

    Attributes:
        seed: of both cuts.
        random: accuracy on rows held out at random.
        apart: on these very rows, when their copies are taken out of the training rows.
        group: accuracy on rows held out by group.
        twins: rows held out at random that have a copy in training; twins_right: of these right.
        others, others_right: likewise for the rest.
    """

    seed: int
    random: float
    apart: float
    group: float
    twins: int
    twins_right: int
    others: int
    others_right: int


def fit(rows: Sequence[Example]) -> Any:
    """Give ``baselines.tfidf`` fitted to labelled rows."""
    return tfidf().fit([r.text for r in rows], [str(r.label) for r in rows])


def right(model: Any, rows: Sequence[Example]) -> list[bool]:
    """Say for each row whether a fitted model names its label."""
    guesses = model.predict([r.text for r in rows])
    return [str(g) == str(r.label) for g, r in zip(guesses, rows, strict=True)]


def accuracy(model: Any, rows: Sequence[Example]) -> float:
    """Give the share of rows whose label a fitted model names.

    Raises:
        DataError: for no rows.
    """
    if not len(rows):
        raise DataError("no rows to measure on")
    return sum(right(model, rows)) / len(rows)


def random_cut(
    rows: Sequence[Example], *, share: float = 0.2, seed: int = 0
) -> dict[str, list[Example]]:
    """Cut rows into ``train`` and ``test`` by a plain shuffle, blind to copies.

    Raises:
        UsageError: for a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError("not a share", got=repr(share), expected="between 0 and 1")
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    held = set(order[: max(1, round(share * len(rows)))])
    return {
        "train": [r for i, r in enumerate(rows) if i not in held],
        "test": [r for i, r in enumerate(rows) if i in held],
    }


def random_against_group(
    rows: Sequence[Example], seeds: Sequence[int], *, say: Say = lambda line: None
) -> list[Cut]:
    """Score the same rows held out at random and by group of copies, one :class:`Cut` a seed.

    Args:
        rows: labelled texts, copies and all.
        seeds: one pair of cuts each.
        say: gets one line a seed.
    """
    first = duplicates.duplicate_groups([r.text for r in rows])
    owner = {row.id: group for row, group in zip(rows, first, strict=True)}
    found = []
    for seed in seeds:
        loose = random_cut(rows, seed=seed)
        tight = duplicates.split_by_group(
            rows, groups=first, shares={"train": 0.8, "test": 0.2}, seed=seed
        )
        known = {owner[r.id] for r in loose["train"]}
        held = {owner[r.id] for r in loose["test"]}
        hits = right(fit(loose["train"]), loose["test"])
        apart = accuracy(fit([r for r in loose["train"] if owner[r.id] not in held]), loose["test"])
        pairs = [(owner[r.id] in known, hit) for r, hit in zip(loose["test"], hits, strict=True)]
        twins, others = ([hit for twin, hit in pairs if twin is kind] for kind in (True, False))
        honest = accuracy(fit(tight["train"]), tight["test"])
        counts = (len(twins), sum(twins), len(others), sum(others))
        found.append(Cut(seed, sum(hits) / len(hits), apart, honest, *counts))
        told = f"copies taken out {apart:.3f}, by group {honest:.3f}"
        say(f"seed {seed}: at random {found[-1].random:.3f}, {told}")
    return found


def mislabel(rows: Sequence[Example], share: float, seed: int = 0) -> list[Example]:
    """Give rows of which ``share``, drawn at random, carry another label drawn at random.

    Raises:
        UsageError: for a share outside 0 to 1.
        DataError: for fewer than two labels.
    """
    names = sorted({str(r.label) for r in rows})
    if not 0 <= share <= 1:
        raise UsageError("not a share", got=repr(share), expected="0 to 1")
    if len(names) < 2:
        raise DataError("one label cannot be mistaken for another", got=", ".join(names) or "none")
    rng = random.Random(seed)
    wrong = set(rng.sample(range(len(rows)), round(share * len(rows))))
    return [
        dataclasses.replace(r, label=rng.choice([n for n in names if n != r.label]))
        if i in wrong
        else r
        for i, r in enumerate(rows)
    ]


def label_noise(
    data: Splits, shares: Sequence[float], seeds: Sequence[int]
) -> dict[float, list[float]]:
    """Give the validation accuracy by share of wrong training labels, one value a seed."""
    found = {}
    for share in shares:
        drawn = seeds if share else seeds[:1]  # where nothing is drawn, one fit stands for all
        scores = [accuracy(fit(mislabel(data.train, share, s)), data.validation) for s in drawn]
        found[share] = scores if share else scores * len(seeds)
    return found


def surprise(model: Any, tokenizer: Any, texts: Sequence[str]) -> float:
    """Give the bits a language model needs for a byte of ``texts``; less is better.

    Counted by byte, so that tokenizers with longer and shorter tokens can be compared.

    Raises:
        DataError: for no texts.
    """
    from course_lib.finetune import evaluate

    if not len(texts):
        raise DataError("no texts to measure")
    rows = [Example(str(i), text) for i, text in enumerate(texts)]
    found: Mapping[str, Any] = evaluate.language_modeling(model, tokenizer, rows).metrics
    return float(found["bits_per_byte"])


@dataclass(frozen=True, slots=True)
class Source:
    """Training rows of one channel against as many of all, on the rows of the other channels.

    Attributes:
        count: training rows of each.
        only: accuracy of the one channel; mixed: of all channels, mean over the draws.
        difference: ``mixed - only``; low, high: its 95% interval, the held-out rows and the
            draws of the mixed rows drawn anew (``gain.crossed_interval``).
    """

    count: int
    only: float
    mixed: float
    difference: float
    low: float
    high: float


def one_source(
    rows: Sequence[Mapping[str, Any]],
    held_out: Sequence[Mapping[str, Any]],
    source: str,
    seed: int = 0,
    *,
    draws: int = 5,
) -> Source:
    """Score training rows of one channel against as many of all channels.

    Args:
        rows: training rows with ``id``, ``text``, ``intent`` and ``channel``.
        held_out: likewise; only those of the other channels are measured on.
        source: the channel.
        seed: of the draws from all channels.
        draws: how many samples of all channels.

    Raises:
        DataError: when no row, or every held-out row, comes from that channel.
        UsageError: for no draw.
    """
    from course_lib.finetune.text.gain import crossed_interval

    def made(part: Sequence[Mapping[str, Any]]) -> list[Example]:
        return [Example(str(r["id"]), str(r["text"]), str(r["intent"])) for r in part]

    own = [r for r in rows if r["channel"] == source]
    others = made([r for r in held_out if r["channel"] != source])
    if not own or not others:
        raise DataError("no rows from this channel" if others else "no rows but its", got=source)
    if draws < 1:
        raise UsageError("nothing to compare with", got=f"{draws} draws", expected="at least one")
    rng = random.Random(seed)
    samples = [rng.sample(list(rows), len(own)) for _ in range(draws)]
    mixed = np.array([right(fit(made(sample)), others) for sample in samples], dtype=float)
    only = np.array(right(fit(made(own)), others), dtype=float)
    low, high = crossed_interval(mixed - only, seed=seed)
    scores = float(only.mean()), float(mixed.mean())
    return Source(len(own), *scores, scores[1] - scores[0], low, high)


def states(
    rows: Sequence[Mapping[str, Any]],
    keys: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    *,
    say: Say = lambda line: None,
) -> dict[str, list[float]]:
    """Score the states of the training rows (``ledger.arms``) on the same test rows.

    Args:
        rows, keys: as ``ledger.read`` gives them.
        seeds: one cut each.
        say: gets one line a cut.

    Returns:
        The test accuracy by state, one value a seed.
    """
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for name, arm in ledger.arms(rows, keys, seed=seed).items():
            found.setdefault(name, []).append(accuracy(fit(arm.train), arm.test))
        say(f"cut {seed}: " + ", ".join(f"{n} {v[-1]:.3f}" for n, v in found.items()))
    return found


def interval(values: Sequence[float], *, ratio: float = 0.0) -> tuple[float, float, float]:
    """Give the mean over repeats and its 95% interval (Student's t).

    Args:
        values: one a repeat, at least two.
        ratio: where the repeats are cuts of the same rows, test rows to training rows. Such cuts
            share rows, so the variance of the mean is taken as ``(1 / n + ratio)`` times that of
            a value instead of ``1 / n`` (Nadeau and Bengio 2003).

    Raises:
        UsageError: for fewer than two values or a negative ratio.
    """
    from scipy import stats

    count = len(values)
    if count < 2 or ratio < 0:
        raise UsageError("no interval", got=f"{count} values, ratio {ratio}", expected="two values")
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) * (1 / count + ratio) ** 0.5
    half = float(stats.t.ppf(0.975, count - 1)) * spread
    return mean, mean - half, mean + half


def verdict(
    values: Sequence[float],
    *,
    ratio: float = 0.0,
    said: tuple[str, str, str] = ("better", "worse", "no difference is shown"),
) -> str:
    """Say a mean difference over repeats, its interval, and what follows from it.

    Args:
        values: differences of two scores (0 to 1), one a repeat.
        ratio: as for :func:`interval`.
        said: the words for an interval above zero, below zero, and holding it. Of fewer than
            ``FEWEST`` repeats no verdict is given.
    """
    mean, low, high = (round(100 * v, 1) + 0.0 for v in interval(values, ratio=ratio))
    if len(values) < FEWEST:
        return f"{mean:+.1f} points: {len(values)} repeats are too few to tell"
    word = said[0] if low > 0 else said[1] if high < 0 else said[2]
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]: {word}"
