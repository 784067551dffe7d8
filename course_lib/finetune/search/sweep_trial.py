"""One trial of a sweep: a fine-tune that is judged on the validation rows alone."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from course_lib.errors import Stopped
from course_lib.finetune import data, forecast, recipe, settings
from course_lib.finetune import model as models
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Prepared
from course_lib.finetune.search import search_space
from course_lib.finetune.train import planned_steps, train, validate

Report = Callable[[int, float], bool]


@dataclass(frozen=True)
class Fixed:
    """What all trials of a sweep share: the arguments of :func:`recipe.finetune`.

    Attributes:
        task, data, base, profile, settings, text_column, label_column, seed, head,
            from_scratch: as :func:`recipe.finetune` takes them.
    """

    task: str
    data: str
    base: str = models.EMBEDDED
    profile: str = "cpu"
    settings: Mapping[str, Any] = field(default_factory=dict)
    text_column: str | None = None
    label_column: str | None = None
    seed: int = 0
    head: str = "auto"
    from_scratch: bool = False


@dataclass(frozen=True)
class Ready:
    """A trial about to train: the recipe's plan, the model, its encoded rows."""

    plan: Any
    model: Any
    pad_id: int
    train: Prepared
    validation: Prepared


def ready(fixed: Fixed, params: Mapping[str, Any]) -> Ready:
    """Load the base and the rows of a trial by the recipe's own steps.

    The test rows are replaced by a validation row before anything is done with them: no
    trial can see them.

    Raises:
        CourseError: for whatever is wrong with names, data, base or settings.
    """
    splits = data.load(
        fixed.task, fixed.data, text_column=fixed.text_column, label_column=fixed.label_column
    )
    splits = dataclasses.replace(splits, test=splits.validation[:1])
    kind = recipe._kind(fixed.task, fixed.head)
    given = {**fixed.settings, **params}
    config, rows, resolved = settings.resolve(
        kind, fixed.profile, given, fixed.seed, len(splits.train)
    )
    config = recipe._precision(config, resolved)
    limited = recipe._limit(splits, rows, fixed.seed)
    plan = recipe._Plan(kind, fixed.base, fixed.from_scratch, fixed.seed, config, resolved, limited)
    model, tokenizer, train_set, validation = recipe._ready(plan, lambda line: None)[:4]
    config = settings.fit_to_base(config, resolved, models.count_parameters(model)[0])
    plan = dataclasses.replace(plan, config=config)
    return Ready(plan, model, tokenizer.pad_token_id, train_set, validation)


def check(fixed: Fixed, space: Mapping[str, Any]) -> None:
    """Refuse a value of the space that no fine-tune could take, before the first trial.

    Raises:
        UsageError: naming the setting and the value.
    """
    kind = recipe._kind(fixed.task, fixed.head)
    for corner in search_space.corners(space):
        settings.resolve(kind, fixed.profile, {**fixed.settings, **corner}, fixed.seed, 1)


def probe(fixed: Fixed, params: Mapping[str, Any], *, threads: int = 0) -> dict[str, Any]:
    """Time the parts of one trial: making it ready, a few steps, one validation.

    Args:
        fixed, params: the trial.
        threads: torch's threads while it is timed; 0 leaves them.

    Returns:
        ``trial_seconds``, ``steps`` and ``evaluations`` of the trial, the ``metric`` that
        decides, and the data's ``name`` and ``sha256``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        ready(fixed, params)  # the first one in a process also imports
        began = time.perf_counter()
        made = ready(fixed, params)
        setup = time.perf_counter() - began
        config, splits = made.plan.config, made.plan.splits
        training, _ = forecast.probe(made.model, made.train, config, made.pad_id)
        began = time.perf_counter()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        objective = Objective(made.model.to(device), made.train.task)
        _, right = validate(objective, made.validation, made.pad_id, device)
        validating = time.perf_counter() - began
    finally:
        torch.set_num_threads(before)
    steps = planned_steps(made.train, config)
    epoch = math.ceil(len(made.train) / config.batch_size)
    evaluations = math.ceil(steps / (config.eval_every_steps or epoch))
    return {
        "trial_seconds": round(setup + training + evaluations * validating, 2),
        "steps": steps,
        "evaluations": evaluations,
        "metric": "validation_loss" if right is None else "validation_accuracy",
        "data": {"name": splits.name, "sha256": splits.sha256},
    }


class _Hopeless(Exception):
    """The pruner has seen enough of this trial."""


class _Judge:
    """Follows a training: the best validation value so far, as the trainer keeps weights.

    At the last of ``planned`` steps nothing is left to be saved, so no trial ends early there.
    """

    def __init__(self, report: Report) -> None:
        self.report, self.steps, self.planned = report, 0, math.inf
        self.value, self.loss = math.nan, math.inf
        self.evaluations: list[list[float]] = []

    def __call__(self, row: Mapping[str, float]) -> None:
        self.steps = int(row["step"])
        if "validation_loss" not in row:
            return
        loss, right = row["validation_loss"], row.get("validation_accuracy")
        value = loss if right is None else right
        gain = -value if right is None else value
        best = -self.value if right is None else self.value
        if math.isnan(best) or (gain, -loss) > (best, -self.loss):
            self.value, self.loss = value, loss
        self.evaluations.append([self.steps, self.value])
        if math.isnan(self.value):
            return
        if self.report(len(self.evaluations), self.value) and self.steps < self.planned:
            raise _Hopeless


def run(fixed: Fixed, params: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Train one trial and judge it on the validation rows.

    Args:
        fixed: what the trials share.
        params: this trial's settings.
        report: gets the number of the evaluation (from 1) and the best validation value so
            far; True ends the trial, unless it was the last evaluation.

    Returns:
        ``state`` (``complete``, ``pruned`` or ``failed``), ``value`` (the best validation
        accuracy, or for tasks without one the lowest loss; None when failed), ``loss`` (nats,
        of the same evaluation), ``steps``, ``seconds``, ``evaluations`` (step and best value
        so far) and, when failed, the ``reason``.

    Raises:
        Stopped: after Ctrl-C.
    """
    began, judge = time.monotonic(), _Judge(report)
    state, reason = "complete", ""
    try:
        made = ready(fixed, params)
        config, pad = made.plan.config, made.pad_id
        judge.planned = planned_steps(made.train, config)
        train(made.model, made.train, made.validation, config, pad_id=pad, on_step=judge)
    except _Hopeless:
        state = "pruned"
    except Stopped:
        raise
    except Exception as error:
        state, reason = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    if state == "complete" and not math.isfinite(judge.value):
        state, reason = "failed", "the validation loss is not a number"
    return {
        "state": state,
        "value": None if state == "failed" else judge.value,
        "loss": judge.loss if math.isfinite(judge.loss) else None,
        "steps": judge.steps,
        "seconds": round(time.monotonic() - began, 2),
        "evaluations": [e for e in judge.evaluations if math.isfinite(e[1])],
    } | ({"reason": reason} if reason else {})
