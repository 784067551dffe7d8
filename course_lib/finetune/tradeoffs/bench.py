"""Many small classifiers on the same rows: cut once, fitted in seconds, nothing kept on disk.

bench = Bench("support_tickets", train_rows=100, validation_rows=50, test_rows=100)
bench.fit({"learning_rate": 1e-3, "epochs": 4}).test.metrics["accuracy"]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from course_lib.errors import UsageError
from course_lib.finetune import adapt, cached, data, evaluate, forecast, prepare
from course_lib.finetune import model as models
from course_lib.finetune import splits as cutting
from course_lib.finetune.baselines import tfidf_evaluation
from course_lib.finetune.precision import pick_precision
from course_lib.finetune.records import Evaluation, Prepared, Splits, TrainConfig
from course_lib.finetune.settings import fit_to_base, resolve
from course_lib.finetune.train import train

OnStep = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Fitted:
    """One fit.

    Attributes:
        history: a row for each step, as in a run's ``history.jsonl``.
        steps, tokens, seconds: what training took.
        trainable: how many numbers were trained.
        test: the model measured on the bench's test rows; empty when not asked for.
    """

    history: tuple[Mapping[str, float], ...]
    steps: int
    tokens: int
    seconds: float
    trainable: int
    test: Evaluation


class Bench:
    """A classification set cut as ``recipe.finetune`` cuts it with the same seed and limits.

    Args:
        data_name: a classification set.
        base: what ``model.load_base`` takes.
        train_rows, validation_rows, test_rows: how many; 0 takes all.
        seed: of the cut, and of a fit that names no other.
        label_column: overrules the guessed one.
    """

    def __init__(
        self,
        data_name: str = "support_tickets",
        *,
        base: str = models.EMBEDDED,
        train_rows: int = 0,
        validation_rows: int = 0,
        test_rows: int = 0,
        seed: int = 0,
        label_column: str | None = None,
    ) -> None:
        self.base, self.seed = base, seed
        known = data.load("classification", data_name, label_column=label_column)
        self.splits: Splits = dataclasses.replace(
            known,
            train=_part(known.train, train_rows, seed),
            validation=_part(known.validation, validation_rows, seed),
            test=_part(known.test, test_rows, seed),
        )

    def fit(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
        measure: bool = True,
        on_step: OnStep = lambda row: None,
    ) -> Fitted:
        """Train a classifier on the bench's rows; the best evaluation's weights are kept.

        Args:
            settings: as ``recipe.finetune`` takes them, without limits of rows.
            seed: of the head and the order of rows; the rows stay the same.
            measure: look at the test rows afterwards.
            on_step: gets each step's history row and ``steps``.
        """
        made = self._ready(settings or {}, self.seed if seed is None else seed)
        trainer = cached.train_cached if made.reused else train
        parts = (made.train, made.validation)
        result = trainer(made.model, *parts, made.config, pad_id=made.pad_id, on_step=on_step)
        trainable = models.count_parameters(made.model)[1]
        if made.adapter is not None:
            adapt.merge(made.adapter)
        test = Evaluation({})
        if measure:
            test = evaluate.classification(made.model, made.tokenizer, self.splits.test)
        return Fitted(
            result.history, result.steps, result.tokens, result.seconds, trainable, test
        )  # fmt: skip

    def forecast(self, settings: Mapping[str, Any] | None = None) -> float:
        """Time a few steps of :meth:`fit` on a copy; give the seconds of the whole training."""
        made = self._ready(settings or {}, self.seed)
        return forecast.probe(made.model, made.train, made.config, made.pad_id)[0]

    def tfidf(self) -> Evaluation:
        """Measure word counts with logistic regression on the same rows."""
        return tfidf_evaluation(self.splits.train, self.splits.test)

    def _ready(self, given: Mapping[str, Any], seed: int) -> _Made:
        if limits := [name for name in given if name.endswith("_rows")]:
            raise UsageError("a bench's rows are cut once", got=", ".join(limits))
        labels, count = self.splits.labels, len(self.splits.train)
        config, _, resolved = resolve("classification", "cpu", given, seed, count)
        model, tokenizer = models.load_base(
            self.base, task="classification", labels=labels, seed=seed
        )
        models.close_texts(tokenizer, config.closing)
        if config.head_init == "words":
            models.head_from_words(model, tokenizer)
        models.freeze(model, config.freeze)
        config = fit_to_base(config, resolved, models.count_parameters(model)[0])
        config = dataclasses.replace(config, precision=_settled(config.precision))
        adapter = adapt.from_settings(model, resolved, seed)
        context = models.context_of(model)
        train_set, validation = (
            prepare.classification(rows, tokenizer, context, labels)
            for rows in (self.splits.train, self.splits.validation)
        )
        reused = resolved["features"]["value"] == "cached"
        return _Made(model, tokenizer, adapter, config, train_set, validation, reused)


@dataclass(frozen=True)
class _Made:
    """A fit about to train."""

    model: Any
    tokenizer: Any
    adapter: Any
    config: TrainConfig
    train: Prepared
    validation: Prepared
    reused: bool

    @property
    def pad_id(self) -> int:
        """The padding token."""
        return int(self.tokenizer.pad_token_id)


def _settled(precision: str) -> str:
    """Settle ``auto`` as ``recipe.finetune`` does."""
    if precision != "auto":
        return precision
    fast = pick_precision("auto", torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return "bfloat16" if fast == torch.bfloat16 else "float32"


def _part(rows: Sequence[Any], most: int, seed: int) -> Sequence[Any]:
    return cutting.sample(rows, most, seed) if 0 < most < len(rows) else rows


def stopped_at(history: Sequence[Mapping[str, float]], patience: int) -> tuple[int, int]:
    """Say where early stopping would have ended a run, by the rule of the training loop.

    A later evaluation is a gain when more validation rows are right, or as many at a lower loss.

    Args:
        history: of a run that was not stopped early.
        patience: evaluations in a row without gain.

    Returns:
        The step at which it ends (the last one when it never does), and the step whose
        weights are kept.

    Raises:
        UsageError: for a patience below 1, or a history without evaluations.
    """
    checks = [row for row in history if "validation_loss" in row]
    if patience < 1 or not checks:
        raise UsageError("nothing to stop", got=f"patience {patience}, {len(checks)} evaluations")
    best, kept, idle = (2.0, 0.0), 0, 0
    for row in checks:
        found = (1 - row.get("validation_accuracy", 0.0), row["validation_loss"])
        if found < best:
            best, kept, idle = found, int(row["step"]), 0
        else:
            idle += 1
        if idle == patience:
            return int(row["step"]), kept
    return int(checks[-1]["step"]), kept
