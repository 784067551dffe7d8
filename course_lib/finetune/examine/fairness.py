"""Bias: counterfactual probes, gaps between groups, mitigation and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from course_lib import metrics
from course_lib.errors import DataError, UnknownNameError
from course_lib.finetune.examine.diagnose import Estimate, Row, check_rows, share
from course_lib.finetune.examine.slices import By, group

Predict = Callable[[Sequence[str]], np.ndarray]
RATES = ("accuracy", "selected", "false_positive", "false_negative")


@dataclass(frozen=True, slots=True)
class Probe:
    """Two versions of a text that differ in one thing which should not matter.

    Attributes:
        pairs: what takes whose place. Without ``template`` they are words or phrases: each
            left one found in a text becomes the right one and the other way about.
        template: where given, every text is put into it with either side of every pair,
            such as ``"{text} Regards, {mark}"``.
    """

    pairs: tuple[tuple[str, str], ...]
    template: str = ""


_SIGNED = "{text} Regards, {mark}"
PROBES: dict[str, Probe] = {
    "gender": Probe(
        (("he", "she"), ("his", "her"), ("him", "her"), ("himself", "herself"),
         ("husband", "wife"), ("father", "mother"), ("dad", "mum"), ("son", "daughter"),
         ("brother", "sister"), ("uncle", "aunt"), ("grandfather", "grandmother"),
         ("grandson", "granddaughter"), ("man", "woman"), ("boy", "girl"), ("Mr", "Mrs"))
    ),
    "signature, gender": Probe((("Emily", "Jack"), ("Sarah", "Thomas")), _SIGNED),
    "signature, origin": Probe(
        (("Emily", "Fatima"), ("Jack", "Mohammed"), ("Thomas", "Kwame"), ("Sarah", "Mei Ling")),
        _SIGNED,
    ),
    "region": Probe(
        (("London", "Lagos"), ("Leeds", "Karachi"), ("Bristol", "Bucharest")),
        "{text} I live in {mark}.",
    ),
    "dialect": Probe(
        (("isn't", "ain't"), ("nothing", "nowt"), ("going to", "gonna"), ("want to", "wanna"),
         ("because", "cos"), ("little", "wee"), ("yes", "aye"), ("you", "ya"))
    ),
    "control": Probe((("Emily", "Sarah"), ("Jack", "Thomas")), _SIGNED),
}  # fmt: skip
"""Ready-made probes. ``control`` swaps within one gender and origin: what any change does."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found.

    Attributes:
        flips: share of pairs whose predicted class changes, with its bootstrap interval over
            texts (``rows`` counts texts, each of which may give several pairs).
        change: mean total variation distance (0 to 1) of the two probability vectors.
        shift: by class, the mean of right-hand minus left-hand probability: the direction.
        pairs: how many pairs were compared.
        flipped: the pairs that flipped: ``(left text, right text)``.
    """

    flips: Estimate
    change: Estimate
    shift: dict[str, Estimate]
    pairs: int
    flipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference of a rate between two groups.

    Attributes:
        value: with its bootstrap interval (rows drawn within each group).
        lowest, highest: the two groups.
        chance: the mean gap when group names are shuffled over rows of the same true class,
            and ``p``, the share of shuffles with a gap at least this large. Small groups
            differ by chance alone.
    """

    value: Estimate
    lowest: str
    highest: str
    chance: float
    p: float


def versions(text: str, probe: Probe) -> list[tuple[str, str]]:
    """Give the pairs of a text under a probe, ``(left, right)``; none where no word is found.

    In place, the left version has only left-hand words, so that shifts have one direction.
    "her" becomes "his" before a word of its own clause and "him" at its end.
    """
    if probe.template:
        made = [[probe.template.format(text=text, mark=m) for m in pair] for pair in probe.pairs]
        return [(left, right) for left, right in made]
    to_right, to_left = dict(probe.pairs), {b: a for a, b in reversed(probe.pairs)}
    left, right = _replace(text, to_left), _replace(text, to_right)
    return [(left, right)] if left != right else []


def _replace(text: str, table: Mapping[str, str]) -> str:
    """Replace whole words, keeping capitals."""
    lower = {k.lower(): v for k, v in table.items()}
    words = sorted(lower, key=len, reverse=True)
    pattern = rf"(?<![\w'])({'|'.join(map(re.escape, words))})(?!\w)(?=(\s+[A-Za-z])?)"

    def put(found: re.Match[str]) -> str:
        word = found.group(1)
        new = lower[word.lower()]
        if word.lower() == "her" and new in ("his", "him"):
            new = "his" if found.group(2) else "him"
        if word.isupper() and len(word) > 1:
            return new.upper()
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return re.sub(pattern, put, text, flags=re.IGNORECASE)


def probe(
    predict: Predict,
    labels: Sequence[str],
    texts: Sequence[str],
    what: str | Probe,
    *,
    seed: int = 0,
) -> Probed:
    """Change one thing in each text and see whether the prediction follows.

    Args:
        predict: from texts to class probabilities ``[texts, classes]``.
        labels: the class names, in the order of ``predict``.
        texts: customers' messages.
        what: a name of ``PROBES``, or a probe of your own.
        seed: of the bootstrap.

    Raises:
        UnknownNameError: for an unknown probe, with close matches.
        DataError: when no text holds any word of the pairs, or ``predict`` gives another shape.
    """
    if isinstance(what, str) and what not in PROBES:
        raise UnknownNameError("probe", what, PROBES)
    chosen = PROBES[what] if isinstance(what, str) else what
    made = [(i, pair) for i, text in enumerate(texts) for pair in versions(text, chosen)]
    if not made:
        raise DataError(
            "the probe changes no text",
            got=f"{len(texts)} texts",
            expected="words such as " + ", ".join(a for a, _ in chosen.pairs[:4]),
            next_step="give other texts, or a probe with a template",
        )
    both = np.asarray(predict([pair[side] for side in (0, 1) for _, pair in made]), dtype=float)
    if both.shape != (2 * len(made), len(labels)):
        wanted = f"[{2 * len(made)}, {len(labels)}]"
        raise DataError("probabilities of the wrong shape", got=str(both.shape), expected=wanted)
    left, right = both[: len(made)], both[len(made) :]
    flipped = left.argmax(1) != right.argmax(1)
    owner = np.array([i for i, _ in made])

    def mean(values: np.ndarray) -> Estimate:
        return _mean([float(values[owner == i].mean()) for i in np.unique(owner)], seed)

    return Probed(
        flips=mean(flipped.astype(float)),
        change=mean(np.abs(right - left).sum(1) / 2),
        shift={name: mean((right - left)[:, i]) for i, name in enumerate(labels)},
        pairs=len(made),
        flipped=tuple(made[i][1] for i in np.flatnonzero(flipped)),
    )


def _counted(gold: np.ndarray, called: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    """Give, by rate, the 0/1 values whose mean it is, ``[rows it counts]``."""
    found = (right, called, called[~gold], ~called[gold])
    return {name: values.astype(float) for name, values in zip(RATES, found, strict=True)}


def _flags(rows: Sequence[Row], positive: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give, each ``[rows]``: is the class, was called it, is right."""
    gold = np.array([r["gold"] == positive for r in rows])
    called = np.array([r["prediction"] == positive for r in rows])
    return gold, called, np.array([r["gold"] == r["prediction"] for r in rows])


def _checked(rows: Sequence[Row], by: By, positive: str) -> dict[str, list[Row]]:
    """Group the rows; refuse an unknown class, a single group, a group of one class."""
    check_rows(rows)
    known = {str(r["gold"]) for r in rows}
    if positive not in known:
        raise UnknownNameError("class", positive, known)
    parts = group(rows, by)
    if len(parts) < 2:
        raise DataError("one group has nothing to differ from", got=", ".join(parts))
    for name, part in parts.items():
        count = sum(r["gold"] == positive for r in part)
        if count in (0, len(part)):
            raise DataError(
                f"the group {name!r} has rows of one class only",
                got=f"{count} of {len(part)} rows are {positive!r}",
                expected=f"rows that are {positive!r} and rows that are not",
                next_step="join it with another group; its error rates are undefined",
            )
    return parts


def group_rates(rows: Sequence[Row], by: By, positive: str) -> dict[str, dict[str, Estimate]]:
    """Give, by group, the rates in ``RATES`` with Wilson intervals and the rows they count.

    Args:
        rows: joined predictions.
        by: a column or a function, as for :func:`slices.group`.
        positive: the class a false positive or negative is about; ``selected`` is the share
            that is called it.

    Raises:
        UnknownNameError: for an unknown column or class, with close matches.
        DataError: for a single group, or a group of one class only, naming it.
    """

    out: dict[str, dict[str, Estimate]] = {}
    for name, part in _checked(rows, by, positive).items():
        values = _counted(*_flags(part, positive))
        out[name] = {rate: share(v) for rate, v in values.items()}
    return out


def _mean(values: Sequence[float], seed: int) -> Estimate:
    if not any(values):  # a bootstrap of zeros has no width
        return share(np.array(values))
    low, high = metrics.bootstrap_interval(values, seed=seed)
    return Estimate(float(np.mean(values)), low, high, len(values))


def gaps(rows: Sequence[Row], by: By, positive: str, *, seed: int = 0) -> dict[str, Gap]:
    """Give, by rate, the largest difference between groups, beside what chance would give.

    Equal ``selected`` is demographic parity, equal false positives and negatives are
    equalised odds (Hardt et al. 2016). Arguments and errors as for :func:`group_rates`;
    ``seed`` is that of resampling and shuffling.
    """
    parts = _checked(rows, by, positive)
    names, flat = list(parts), [r for part in parts.values() for r in part]
    owner = np.repeat(np.arange(len(names)), [len(p) for p in parts.values()])
    flags, rng = _flags(flat, positive), np.random.default_rng(seed)

    def table(pick: np.ndarray, own: np.ndarray) -> dict[str, np.ndarray]:
        found = [_counted(*(f[pick[own == g]] for f in flags)) for g in range(len(names))]
        return {r: np.array([f[r].mean() if f[r].size else np.nan for f in found]) for r in RATES}

    def spread(found: dict[str, np.ndarray]) -> list[float]:
        return [float(np.nanmax(found[r]) - np.nanmin(found[r])) for r in RATES]

    everyone = np.arange(len(flat))
    members = [np.flatnonzero(owner == g) for g in range(len(names))]
    drawn, shuffled = [], []
    for _ in range(metrics.RESAMPLES // 2):
        drawn.append(spread(table(np.concatenate([rng.choice(m, len(m)) for m in members]), owner)))
        shuffled.append(spread(table(everyone, _shuffle(owner, flags[0], rng))))
    seen = table(everyone, owner)
    out = {}
    for i, (rate, value) in enumerate(zip(RATES, spread(seen), strict=True)):
        low, high = np.quantile([d[i] for d in drawn], [0.025, 0.975])
        by_chance = np.array([s[i] for s in shuffled])
        out[rate] = Gap(
            Estimate(value, float(low), float(high), len(flat)),
            names[int(seen[rate].argmin())],
            names[int(seen[rate].argmax())],
            float(by_chance.mean()),
            float((1 + (by_chance >= value - 1e-12).sum()) / (1 + len(by_chance))),
        )
    return out


def _shuffle(owner: np.ndarray, gold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle groups among rows of the same true class, so that base rates stay."""
    new = owner.copy()
    for kind in (True, False):
        new[gold == kind] = rng.permutation(owner[gold == kind])
    return new
