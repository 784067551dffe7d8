"""Whether it helped: the same model trained with and without augmentation or balancing.

    gain = measure_augmentation(data, "typos", rows=200)[0]; gain.verdict, gain.difference

Both measure on the validation rows; the test rows are never read.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib import metrics
from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune import splits
from course_lib.finetune.records import Example, Splits
from course_lib.finetune.text import rewrite, words
from course_lib.finetune.text.augment import STRENGTH, augment, check_options
from course_lib.finetune.text.balance import embed, long_tail, sampler, smote

WAYS = ("none", "over", "under", "weights", "smote")
FEATURES = ("tfidf", "frozen")
FROZEN_C = 0.03  # best of 0.001 to 1 by cross-validation on 600 training tickets


@dataclass(frozen=True, slots=True)
class Gain:
    """Training with copies against training without, on the same validation rows.

    Attributes:
        method: the augmentation; model: ``tfidf`` or ``finetune``; rows: training rows before.
        without, with_copies: accuracy for each seed; f1_without, f1_with: macro F1, likewise.
        difference: mean difference of accuracy over seeds and rows; low, high: its paired 95%
            interval, rows and seeds drawn anew (crossed bootstrap).
        report: what the augmentation did, of the first seed.
    """

    method: str
    model: str
    rows: int
    without: tuple[float, ...]
    with_copies: tuple[float, ...]
    f1_without: tuple[float, ...]
    f1_with: tuple[float, ...]
    difference: float
    low: float
    high: float
    report: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``helped``, ``hurt``, or ``not shown`` when the interval holds zero."""
        return "helped" if self.low > 0 else "hurt" if self.high < 0 else "not shown"


def measure_augmentation(
    data: Splits,
    methods: str | Sequence[str],
    *,
    rows: int = 200,
    share: float = 1.0,
    seeds: Sequence[int] = (0, 1, 2),
    model: str = "tfidf",
    base: str = "embedded",
    steps: int = 0,
    augment_base: str = "embedded",
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> list[Gain]:
    """Measure on the validation rows whether augmentation helps; the test rows are not read.

    For each seed a sample of the training rows is drawn by label, and a model is trained on it
    with and without copies: the same seed, settings and number of optimizer steps, so that
    copies do not win by longer training.

    Args:
        data: classification splits.
        methods: one of ``augment.METHODS`` or several; the runs without copies are shared.
        rows: training rows before augmentation; 0 takes all.
        share: as in :func:`augment`; seeds: one run each, with and without.
        model: ``tfidf`` (TF-IDF with logistic regression: a quick look, and no steps) or
            ``finetune`` (the settings of ``course finetune`` without a best epoch picked).
        base: of the fine-tune; augment_base: ``base`` of :func:`augment`.
        steps: optimizer steps of a fine-tune; 0 for as many as without copies.
        say: gets one line a run.
        options: further arguments of :func:`augment`.

    Returns:
        One :class:`Gain` a method.

    Raises:
        UnknownNameError, UsageError, DataError: as :func:`augment`; for no seeds, too.
    """
    names = [methods] if isinstance(methods, str) else list(methods)
    for name in names:
        check_options(name, share, options.get("strength", STRENGTH), {})
    if model not in ("tfidf", "finetune"):
        raise UnknownNameError("model", model, ("tfidf", "finetune"))
    if not seeds or rows < 0:
        raise UsageError("no seeds, or fewer rows than none", got=f"{list(seeds)}, {rows}")
    options |= {"share": share, "base": augment_base, "held_out": data.validation}
    gold = [str(r.label) for r in data.validation]
    guesses: dict[str, list[list[str]]] = {name: [] for name in ("none", *names)}
    reports: dict[str, Mapping[str, Any]] = {}
    count = min(rows or len(data.train), len(data.train))
    for seed in seeds:
        sample = splits.sample(data.train, count, seed)
        words.check_training(sample, "augmented", data.validation)
        for name in guesses:
            part: Sequence[Example] = sample
            if name != "none":
                made = augment(sample, name, seed=seed, **options)
                part, reports[name] = made.rows, reports.get(name, made.report)
            found = _trained(model, part, data, base, steps, seed, count)
            guesses[name].append(found)
            say(f"{name}, seed {seed}: accuracy {np.mean(_right(gold, found)):.3f}")
    return [_gain(n, model, count, gold, guesses["none"], guesses[n], reports[n]) for n in names]


def _trained(
    kind: str, rows: Sequence[Example], data: Splits, base: str, steps: int, seed: int, count: int
) -> list[str]:
    """Train on ``rows`` for the steps of ``count`` rows; give the validation rows' classes."""
    from course_lib.finetune import evaluate, prepare, settings
    from course_lib.finetune import model as models
    from course_lib.finetune.train import train

    texts = [r.text for r in data.validation]
    if kind == "tfidf":
        return list(rewrite.quick_judge(rows)(texts))
    config, _, resolved = settings.resolve("classification", "cpu", {}, seed, count)
    steps = steps or math.ceil(count / config.batch_size) * config.epochs
    epochs = math.ceil(steps / math.ceil(len(rows) / config.batch_size))
    model, tokenizer = models.load_base(base, task="classification", labels=data.labels, seed=seed)
    models.close_texts(tokenizer, config.closing)
    models.head_from_words(model, tokenizer)
    config = settings.fit_to_base(config, resolved, models.count_parameters(model)[0])
    config = dataclasses.replace(config, max_steps=steps, epochs=epochs, precision="float32")
    coded = prepare.encode("classification", rows, tokenizer, models.context_of(model), data.labels)
    train(model, coded, None, config, pad_id=tokenizer.pad_token_id)
    found = evaluate.class_probabilities(model, tokenizer, texts)
    return [data.labels[i] for i in found.argmax(1)]


def _right(gold: Sequence[str], guesses: Sequence[str]) -> list[float]:
    return [float(g == p) for g, p in zip(gold, guesses, strict=True)]


def _gain(
    name: str,
    model: str,
    rows: int,
    gold: Sequence[str],
    without: Sequence[Sequence[str]],
    having: Sequence[Sequence[str]],
    report: Mapping[str, Any],
) -> Gain:
    before, after = ([metrics.classification(gold, g) for g in arm] for arm in (without, having))
    right = [np.array([_right(gold, g) for g in arm]) for arm in (without, having)]
    difference = right[1] - right[0]
    low, high = crossed_interval(difference)
    return Gain(
        name,
        model,
        rows,
        tuple(m["accuracy"] for m in before),
        tuple(m["accuracy"] for m in after),
        tuple(m["f1_macro"] for m in before),
        tuple(m["f1_macro"] for m in after),
        float(difference.mean()),
        low,
        high,
        report,
    )


def crossed_interval(values: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Give the 95% percentile interval of a mean when both its factors are samples.

    Seeds and rows are drawn anew independently (crossed bootstrap, Owen 2007), 2,000 times.

    Args:
        values: ``[seeds, rows]``, such as the difference of two models being right.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    seeds, rows = values.shape
    means = np.empty(metrics.RESAMPLES)
    for i in range(metrics.RESAMPLES):
        weights = np.bincount(rng.integers(0, seeds, seeds), minlength=seeds) / seeds
        means[i] = (weights @ values)[rng.integers(0, rows, rows)].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def measure_balancing(
    data: Splits,
    *,
    ratio: float = 20.0,
    features: str = "tfidf",
    ways: Sequence[str] = WAYS,
    seeds: Sequence[int] = (0, 1, 2),
    base: str = "embedded",
) -> list[dict[str, Any]]:
    """Compare ways of balancing a logistic regression on the validation rows.

    Args:
        data: classification splits; the training rows are thinned out by ``balance.long_tail``.
        ratio: of the long tail; 1 takes the training rows as they are.
        features: ``tfidf`` or ``frozen`` (``balance.embed``, standardised).
        ways: of ``WAYS``; seeds: one long tail and draw each.
        base: of the frozen features.

    Returns:
        One map a way: ``way``, ``rows`` (trained on, mean), ``accuracy``, ``f1_macro``,
        ``recall_rare`` (mean recall of the rarer half of the classes), each a mean over seeds,
        and ``f1_by_seed``.

    Raises:
        UnknownNameError: for an unknown way or kind of features, with close matches.
        UsageError, DataError: as ``balance.long_tail`` and ``balance.smote``.
    """
    for kind, names, known in (("way", ways, WAYS), ("features", [features], FEATURES)):
        for name in names:
            if name not in known:
                raise UnknownNameError(kind, name, known)
    frozen: dict[str, np.ndarray] = {}
    if features == "frozen":
        every = [*data.train, *data.validation]
        frozen = dict(zip((r.id for r in every), embed([r.text for r in every], base), strict=True))
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for seed in seeds:
        tail = long_tail(data.train, ratio, seed).rows
        parts = _features(tail, data.validation, frozen)
        for way in ways:
            guesses, rows = _fitted(way, *parts, [str(r.label) for r in tail], seed, bool(frozen))
            found[way].append({"rows": rows, **_scores(guesses, tail, data.validation)})
    return [
        {"way": way, **{k: float(np.mean([m[k] for m in runs])) for k in runs[0]}}
        | {"f1_by_seed": [m["f1_macro"] for m in runs]}
        for way, runs in found.items()
    ]


def _features(
    train: Sequence[Example], held_out: Sequence[Example], frozen: Mapping[str, np.ndarray]
) -> tuple[Any, Any]:
    """Give the features of both parts, ``[rows, width]``, fitted on the training rows alone."""
    from sklearn.preprocessing import StandardScaler

    from course_lib.finetune.baselines import tfidf

    if not frozen:
        maker = tfidf()[0]
        return maker.fit_transform([r.text for r in train]), maker.transform(
            [r.text for r in held_out]
        )
    scaler = StandardScaler()
    fitted = scaler.fit_transform(np.stack([frozen[r.id] for r in train]))
    return fitted, scaler.transform(np.stack([frozen[r.id] for r in held_out]))


def _fitted(
    way: str, train: Any, held_out: Any, labels: Sequence[str], seed: int, frozen: bool
) -> tuple[list[str], int]:
    """Fit a logistic regression balanced in one way; give its guesses and the rows it saw."""
    from course_lib.finetune.logistic import WideLogisticRegression

    named: Any = list(labels)
    if way == "smote":
        made = smote(train, labels, seed)
        train, named = made.features, list(made.labels)
    elif way in ("over", "under"):
        train, named = sampler(way, seed).fit_resample(train, named)
    weights, c = "balanced" if way == "weights" else None, FROZEN_C if frozen else 10
    model = WideLogisticRegression(C=c, max_iter=2000, class_weight=weights)
    guesses = model.fit(train, named).predict(held_out)
    return [str(g) for g in guesses], len(named)


def _scores(
    guesses: Sequence[str], train: Sequence[Example], held_out: Sequence[Example]
) -> dict[str, float]:
    gold = [str(r.label) for r in held_out]
    found = metrics.classification(gold, guesses)
    counts = Counter(str(r.label) for r in train)
    rare = sorted(counts, key=counts.__getitem__)[: max(1, len(counts) // 2)]
    pairs = [(g, p) for g, p in zip(gold, guesses, strict=True) if g in rare]
    right = [np.mean([g == p for g, p in pairs if g == label]) for label in rare]
    return {
        "accuracy": found["accuracy"],
        "f1_macro": found["f1_macro"],
        "recall_rare": float(np.mean(right)),
    }
