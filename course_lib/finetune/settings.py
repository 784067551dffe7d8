"""Settings of a fine-tune: defaults for each task and profile, and why each has its value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune.prepare import TOPIC_PROMPT
from course_lib.finetune.records import TrainConfig

PROFILES = ("quick", "cpu", "gpu")
ROW_LIMITS = ("train_rows", "validation_rows", "test_rows")
# what is settled beside TrainConfig: how many weights are trained, and from what
ADAPTATION: dict[str, Any] = {
    "adapter": "none",
    "lora_rank": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "lora_targets": "all",
    "features": "fresh",
}
_CHOICES = {
    "adapter": ("none", "lora"),
    "features": ("fresh", "cached"),
    "class_weights": ("none", "balanced"),
}
_QUICK_ROWS = {"train_rows": 96, "validation_rows": 32, "test_rows": 48}
_PASSES = "the epoch that does best on the validation rows is kept; too many cost only time"
_RATE = "suits a base of a few million parameters; lowered for larger ones"
_BY_TASK: dict[str, dict[str, tuple[Any, str]]] = {
    "classification": {
        "epochs": (8, _PASSES),
        "batch_size": (8, "on 200 rows, steps of 8 learned more than steps of 16"),
        "closing": (TOPIC_PROMPT, "the class is read where the next word would be the topic"),
    },
    "token-classification": {"epochs": (8, _PASSES)},
    "question-answering": {"epochs": (4, _PASSES)},
    "question-answering-span": {"epochs": (4, _PASSES)},
    "completion": {"epochs": (6, _PASSES)},
    "language-modeling": {
        "epochs": (4, _PASSES),
        "batch_size": (8, "rows are whole sequences, longer than most labelled texts"),
    },
}
_WHY = {
    "epochs": _PASSES,
    "learning_rate": _RATE,
    "max_steps": "0 sets no limit beside the epochs",
    "batch_size": "small steps learn more from few rows",
    "tokens_per_batch": "bounds the memory of a pass; longer steps are spread over several",
    "weight_decay": "AdamW's usual mild pull towards zero",
    "betas": "AdamW's usual memory",
    "warmup_share": "a new head's first gradients are large and say little",
    "schedule": "the rate falls to zero, so that the last steps settle",
    "clip_norm": "one odd batch cannot throw the weights far",
    "freeze": "all weights learn",
    "adapter": "the weights themselves learn",
    "lora_rank": "PEFT's default",
    "lora_alpha": "twice the rank, a common choice",
    "lora_dropout": "adapters this small need none",
    "lora_targets": "every matrix of a layer gets an adapter",
    "features": "every layer runs in every step",
    "patience": "0 never stops early",
    "eval_every_steps": "0 evaluates after every epoch",
    "save_every_seconds": "what a killed run loses at most",
    "head_init": "a class starts from the words of its name where embeddings are tied",
    "closing": "no words are added",
    "class_weights": "every row counts alike",
    "train_rows": "0 takes all",
    "validation_rows": "0 takes all",
    "test_rows": "0 takes all",
}
LORA_RATE = 5  # times the learning rate of full fine-tuning
HEAD_RATE = 10  # likewise, where the base is frozen
# which goes by the base's parameters
_RATES = ((20e6, 1e-3), (60e6, 3e-4), (400e6, 1e-4), (float("inf"), 2e-5))


def resolve(
    kind: str, profile: str, given: Mapping[str, Any], seed: int, rows: int
) -> tuple[TrainConfig, dict[str, int], dict[str, dict[str, Any]]]:
    """Settle every setting.

    Args:
        kind: the task, or ``question-answering-span``.
        profile: ``quick``, ``cpu`` or ``gpu``.
        given: what the user set, as numbers or as text from the command line.
        seed: the run's seed.
        rows: training rows there are.

    Returns:
        The training configuration, row limits by split (0 = all) and, for ``run.json``,
        each setting as ``{"value": ..., "reason": ...}``.

    Raises:
        UsageError: for an unknown profile or setting, or a value of the wrong kind.
    """
    if profile not in PROFILES:
        raise UnknownNameError("profile", profile, PROFILES)
    fields = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
    values: dict[str, Any] = {**fields, "seed": seed, **dict.fromkeys(ROW_LIMITS, 0), **ADAPTATION}
    reasons = {name: _WHY.get(name, "the library's default") for name in values}
    reasons["seed"] = "given"
    for name, (value, reason) in _BY_TASK[kind].items():
        values[name], reasons[name] = value, reason
    if profile == "quick":
        for name, value in {"epochs": 2, **_QUICK_ROWS}.items():
            values[name], reasons[name] = value, "the quick profile"
    for name, value in given.items():
        if name not in values:
            raise UnknownNameError("setting", name, values)
        values[name], reasons[name] = _convert(name, value, values[name]), "given"
    _check(values)
    if values["class_weights"] != "none" and kind != "classification":
        raise UsageError("class_weights are for classification", got=kind)
    limits = {n.removesuffix("_rows"): int(values[n]) for n in ROW_LIMITS}
    shown = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}
    resolved = {n: {"value": shown[n], "reason": reasons[n]} for n in values}
    config = TrainConfig(**{n: values[n] for n in fields})
    return config, limits, resolved


def fit_to_base(
    config: TrainConfig, resolved: dict[str, dict[str, Any]], parameters: int
) -> TrainConfig:
    """Fit the learning rate to the base and to what is trained, unless it was given; record it.

    A larger base gets a lower one, LoRA and a head on a frozen base a higher one. Of 1, 3, 5
    and 10 times the rate, 5 gave LoRA the best validation accuracy on 200 tickets (one seed:
    45.5, 46.0, 49.0, 47.0%), by less than 200 rows can tell apart. Of 1, 3, 10 and 30 times the
    rate, 10 gave a head alone the best validation accuracy on 50 and 200 tickets (two seeds:
    17.5, 20.5, 25.0, 24.5 and 25.3, 31.5, 34.5, 31.5%) and the lowest loss on 1,000.
    """
    rate = next(rate for most, rate in _RATES if parameters <= most)
    reason = f"larger bases need smaller steps; this one has {parameters:,} parameters"
    if resolved["adapter"]["value"] == "lora":
        rate, reason = LORA_RATE * rate, f"{LORA_RATE} times that of the weights, for an adapter"
    elif resolved["freeze"]["value"] == "base":
        rate, reason = HEAD_RATE * rate, f"{HEAD_RATE} times that of the weights, for a head alone"
    if resolved["learning_rate"]["reason"] == "given" or rate == config.learning_rate:
        return config
    resolved["learning_rate"] = {"value": rate, "reason": reason}
    return dataclasses.replace(config, learning_rate=rate)


def _check(values: Mapping[str, Any]) -> None:
    """Refuse settings that cannot work."""
    for name in ("epochs", "batch_size", "tokens_per_batch", "lora_rank"):
        if values[name] < 1:
            raise UsageError(f"{name} must be at least 1", got=str(values[name]))
    if not 0 < values["learning_rate"] < 10:
        raise UsageError(
            "learning_rate must lie between 0 and 10", got=str(values["learning_rate"])
        )
    for name, known in _CHOICES.items():
        if values[name] not in known:
            raise UnknownNameError(name, values[name], known)


def _convert(name: str, value: Any, like: Any) -> Any:
    """Bring a value from the command line to the type of the default."""
    if isinstance(like, tuple):
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(float(p) for p in parts)
    try:
        if isinstance(like, int) and float(value) != int(float(value)):
            raise ValueError
        return type(like)(float(value)) if isinstance(like, (int, float)) else str(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"the setting {name} cannot be {value!r}", expected=f"a value like {like!r}"
        ) from None
