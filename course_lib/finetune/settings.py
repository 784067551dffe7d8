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
_QUICK_ROWS = {"train_rows": 96, "validation_rows": 32, "test_rows": 48}
_BY_TASK: dict[str, dict[str, Any]] = {
    "classification": {
        "epochs": 8,
        "learning_rate": 1e-3,
        "batch_size": 16,
        "closing": TOPIC_PROMPT,
    },
    "token-classification": {"epochs": 8, "learning_rate": 1e-3, "batch_size": 16},
    "question-answering": {"epochs": 4, "learning_rate": 1e-3, "batch_size": 16},
    "question-answering-span": {"epochs": 4, "learning_rate": 1e-3, "batch_size": 16},
    "completion": {"epochs": 6, "learning_rate": 1e-3, "batch_size": 16},
    "language-modeling": {"epochs": 4, "learning_rate": 1e-3, "batch_size": 8},
}


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
    values: dict[str, Any] = {**fields, "seed": seed, **dict.fromkeys(ROW_LIMITS, 0)}
    reasons = dict.fromkeys(values, "the library's default")
    reasons["seed"] = "given"
    for name, value in _BY_TASK[kind].items():
        values[name], reasons[name] = value, f"the default for {kind}"
    if profile == "quick":
        for name, value in {"epochs": 2, **_QUICK_ROWS}.items():
            values[name], reasons[name] = value, "the quick profile"
    for name, value in given.items():
        if name not in values:
            raise UnknownNameError("setting", name, values)
        values[name], reasons[name] = _convert(name, value, values[name]), "given"
    for name in ("epochs", "batch_size", "tokens_per_batch"):
        if values[name] < 1:
            raise UsageError(f"{name} must be at least 1", got=str(values[name]))
    if not 0 < values["learning_rate"] < 10:
        raise UsageError(
            "learning_rate must lie between 0 and 10", got=str(values["learning_rate"])
        )
    limits = {n.removesuffix("_rows"): int(values[n]) for n in ROW_LIMITS}
    shown = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}
    resolved = {n: {"value": shown[n], "reason": reasons[n]} for n in values}
    config = TrainConfig(**{n: values[n] for n in fields})
    return config, limits, resolved


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
