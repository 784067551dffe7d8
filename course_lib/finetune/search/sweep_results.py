"""What a sweep found: its trials, the best of them, a heat map and importances as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.search import search_space, sweep_storage

EVALUATORS = ("fanova", "ped-anova")
BINS = 6  # columns of a heat map for a range


@dataclass(frozen=True)
class SweepTrial:
    """One trial.

    Attributes:
        number: its place in the order in which trials were queued.
        slot: the place in the search; a lost trial and the one run in its place share it.
        settings: the searched settings.
        state: ``complete``, ``pruned``, ``failed``, ``lost`` (its process died; run again),
            ``running`` or ``waiting``.
        value: best validation accuracy, or lowest validation loss; None when there is none.
        loss: validation loss (nats) at that evaluation; equal values are ranked by it.
        seconds, steps: what it took; 0 for one that was lost.
        evaluations: pairs of training step and best value so far.
        reason: why it failed.
    """

    number: int
    slot: int
    settings: Mapping[str, Any]
    state: str
    value: float | None = None
    loss: float | None = None
    seconds: float = 0.0
    steps: int = 0
    evaluations: Sequence[Sequence[float]] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Sweep:
    """A sweep as it is kept in ``sweep.json``.

    Attributes:
        definition: task, data, base, space, method and seed.
        metric: what decided: ``validation_accuracy`` (higher is better) or
            ``validation_loss`` (lower is better).
        trials: every trial, lost ones included, in order of their number.
        forecast: what was expected before it began: ``trial_seconds``, ``trials``, ``jobs``,
            ``seconds``.
        test: the metrics of the best trial's model on the test rows, measured once; empty
            until all trials are done.
        folder: where it lies; the best model is in ``best/``.
    """

    definition: Mapping[str, Any]
    metric: str
    trials: tuple[SweepTrial, ...]
    forecast: Mapping[str, Any] = field(default_factory=dict)
    test: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def best(self) -> SweepTrial | None:
        """Give the complete trial with the best value; of equals the one with the lower loss."""
        done = [t for t in self.trials if t.state == "complete" and t.value is not None]
        return max(done, key=self._rank, default=None)

    def _rank(self, trial: SweepTrial) -> tuple[float, float]:
        assert trial.value is not None
        sign = 1 if self.metric == "validation_accuracy" else -1
        return sign * trial.value, -(trial.loss if trial.loss is not None else math.inf)

    @property
    def finished(self) -> tuple[SweepTrial, ...]:
        """Give the trials that count: complete, pruned and failed, in order of their slot."""
        done = [t for t in self.trials if t.state in ("complete", "pruned", "failed")]
        return tuple(sorted(done, key=lambda t: t.slot))

    def curve(self) -> list[tuple[int, int, float]]:
        """Give the search's progress: trials done, training steps spent, best value so far."""
        points: list[tuple[int, int, float]] = []
        steps = 0
        for count, trial in enumerate(self.finished, 1):
            steps += trial.steps
            part = Sweep(self.definition, self.metric, self.finished[:count]).best
            if part is not None and part.value is not None:
                points.append((count, steps, part.value))
        return points

    def markdown(self, top: int = 10) -> str:
        """Give the best trials as a Markdown table, best first, then the pruned and failed."""
        names = list(self.definition["space"])
        head = ["trial", *names, self.metric.replace("_", " "), "state", "steps", "seconds"]
        lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        done = sorted(
            self.finished,
            key=lambda t: (
                t.state == "complete",
                self._rank(t) if t.value is not None else (-math.inf, 0.0),
            ),
            reverse=True,
        )
        for t in done[:top]:
            shown = [_short(t.settings.get(n, "")) for n in names]
            value = "-" if t.value is None else f"{t.value:.4f}"
            cells = [str(t.number), *shown, value, t.state, str(t.steps), f"{t.seconds:.1f}"]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Give the content of ``sweep.json`` (schema 1)."""
        return {
            "schema": 1,
            "definition": dict(self.definition),
            "metric": self.metric,
            "forecast": dict(self.forecast),
            "best": asdict(self.best) if self.best else None,
            "test": dict(self.test),
            "trials": [asdict(t) for t in self.trials],
        }


def read_sweep(folder: Path | str) -> Sweep:
    """Read ``sweep.json`` of a sweep's folder.

    Raises:
        DataError: when there is none, or it is not a sweep's.
    """
    path = Path(folder) / "sweep.json"
    found = files.read_json(path)
    try:
        trials = tuple(SweepTrial(**t) for t in found["trials"])
        return Sweep(
            found["definition"], found["metric"], trials, found["forecast"], found["test"],
            Path(folder),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise DataError(
            "not the file of a sweep", where=str(path), got=f"{type(error).__name__}: {error}"
        ) from None


def of_study(trials: Sequence[Any]) -> tuple[SweepTrial, ...]:
    """Turn Optuna's trials of a sweep's study into plain ones."""
    found = []
    for t in trials:
        outcome = dict(t.user_attrs.get("outcome", {}))
        state = outcome.pop("state", "") or {"FAIL": "lost"}.get(t.state.name, t.state.name.lower())
        settings = t.params or t.system_attrs.get("fixed_params", {})
        found.append(SweepTrial(t.number, t.user_attrs["slot"], settings, state, **outcome))
    return tuple(found)


@dataclass(frozen=True)
class Heat:
    """The best value over two settings.

    Attributes:
        x, y: the settings' names.
        xs, ys: labels of the columns and rows; a range without ``points`` or ``step`` is cut
            into six bins of equal width (of equal ratio when it is logarithmic), each named by
            its middle.
        table: best value, ``[len(ys)][len(xs)]``; NaN where no trial fell.
        counts: complete trials of each cell, same shape.
    """

    x: str
    y: str
    xs: tuple[str, ...]
    ys: tuple[str, ...]
    table: tuple[tuple[float, ...], ...]
    counts: tuple[tuple[int, ...], ...]


def heat(sweep: Sweep, x: str, y: str) -> Heat:
    """Lay the complete trials of a sweep out over two of its settings.

    Raises:
        UnknownNameError: for a setting that was not searched.
        UsageError: when both are the same.
    """
    space = sweep.definition["space"]
    for name in (x, y):
        if name not in space:
            raise UnknownNameError("searched setting", name, space)
    if x == y:
        raise UsageError("a heat map needs two different settings", got=repr(x))
    done = [t for t in sweep.trials if t.state == "complete"]
    (xs, column), (ys, row) = _axis(space[x], [t.settings[x] for t in done]), _axis(
        space[y], [t.settings[y] for t in done]
    )  # fmt: skip
    cells: dict[tuple[int, int], list[float]] = {}
    for trial in done:
        place = (row(trial.settings[y]), column(trial.settings[x]))
        cells.setdefault(place, []).append(float(trial.value or 0.0))
    best = max if sweep.metric == "validation_accuracy" else min
    table = tuple(
        tuple(best(cells.get((i, j), [math.nan])) for j in range(len(xs))) for i in range(len(ys))
    )
    counts = tuple(
        tuple(len(cells.get((i, j), [])) for j in range(len(xs))) for i in range(len(ys))
    )
    return Heat(x, y, xs, ys, table, counts)


def _axis(given: Any, seen: Sequence[Any]) -> tuple[tuple[str, ...], Any]:
    """Give the labels of an axis and the function from a value to its place."""
    even = not isinstance(given, Mapping) or given.get("points") or given.get("step")
    values = sorted(set(seen)) if isinstance(given, Mapping) else list(given)
    if even and (len(values) <= 2 * BINS or not isinstance(given, Mapping)):
        return tuple(_short(v) for v in values), values.index
    scale, back = (math.log, math.exp) if given.get("log") else (float, float)
    low, high = scale(given["low"]), scale(given["high"])
    width = (high - low) / BINS
    labels = tuple(_short(back(low + (i + 0.5) * width)) for i in range(BINS))
    return labels, lambda v: min(BINS - 1, max(0, int((scale(v) - low) / width)))


def importance(sweep: Sweep, *, evaluator: str = "fanova", seed: int = 0) -> dict[str, float]:
    """Say which searched settings moved the value, by Optuna's evaluators.

    Args:
        sweep: at least four complete trials.
        evaluator: ``fanova`` (Hutter et al. 2014: share of the variance a random forest
            explains) or ``ped-anova`` (Watanabe et al. 2023: what sets the best tenth apart).
        seed: of fANOVA's forest.

    Returns:
        Setting to share, largest first; the shares sum to 1.

    Raises:
        UsageError: for too few complete trials, or when all have the same value.
    """
    import optuna

    if evaluator not in EVALUATORS:
        raise UnknownNameError("evaluator", evaluator, EVALUATORS)
    done = [t for t in sweep.trials if t.state == "complete"]
    if len(done) < 4 or len({t.value for t in done}) < 2:
        raise UsageError(
            "too few different trials to say what matters",
            got=f"{len(done)} complete trials with {len({t.value for t in done})} values",
            expected="at least 4 complete trials that differ in value",
        )
    accuracy = sweep.metric == "validation_accuracy"
    study = optuna.create_study(direction="maximize" if accuracy else "minimize")
    distributions = search_space.parse(sweep.definition["space"])
    for t in done:
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(t.settings), distributions=distributions, value=t.value
            )
        )
    with sweep_storage.quiet():
        chosen: Any = (
            optuna.importance.FanovaImportanceEvaluator(seed=seed)
            if evaluator == "fanova"
            else optuna.importance.PedAnovaImportanceEvaluator()
        )
        found = optuna.importance.get_param_importances(study, evaluator=chosen)
    return {name: float(share) for name, share in found.items()}


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
