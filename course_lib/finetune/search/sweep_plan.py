"""What a sweep was asked for: checked, forecast, and written down to compare a resumed one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune import model as models
from course_lib.finetune.search import search_space, sweep_storage, sweep_trial
from course_lib.finetune.search.sweep_study import METHODS
from course_lib.finetune.search.sweep_trial import Fixed

TRIALS = 20  # where neither trials nor a budget is given


@dataclass(frozen=True)
class Plan:
    """The arguments of :func:`sweep.sweep`, under the same names."""

    fixed: Fixed
    space: dict[str, Any]
    method: str
    trials: int | None
    budget: int
    prune: str
    jobs: int
    scheduler: str
    folder: Path
    say: Callable[[str], None]

    def check(self, storage: Any) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            UsageError: for numbers, names or a space that cannot be.
        """
        if self.method not in METHODS:
            raise UnknownNameError("search method", self.method, METHODS)
        if self.prune not in sweep_storage.PRUNERS:
            raise UnknownNameError("pruner", self.prune, sweep_storage.PRUNERS)
        for name, value, least in (
            ("trials", 1 if self.trials is None else self.trials, 1),
            ("jobs", self.jobs, 1),
            ("budget", self.budget, 0),
        ):
            if value < least:
                raise UsageError(f"{name} must be at least {least}", got=str(value))
        if self.jobs > 1 and type(storage).__name__ == "InMemoryStorage":
            raise UsageError(
                "processes side by side cannot share a storage in memory",
                next_step="leave storage out, or use jobs=1",
            )
        search_space.parse(self.space)
        sweep_trial.check(self.fixed, self.space)

    def points(self) -> list[dict[str, Any]]:
        """List the settings of each slot; empty ones are drawn when their turn comes."""
        if self.method == "grid":
            grid = search_space.grid(self.space)
            random.Random(self.fixed.seed).shuffle(grid)
            return grid[: self.trials]
        return [{}] * (self.trials or (0 if self.budget else TRIALS))

    @property
    def open_ended(self) -> bool:
        """Tell whether the budget alone says when to end."""
        return self.method != "grid" and self.trials is None and self.budget > 0


def definition(plan: Plan, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give what must stay the same for the trials of a sweep to be comparable, as JSON."""
    fixed = plan.fixed
    asked = {
        "task": fixed.task, "head": fixed.head, "data": facts["data"],
        "base": models.base_sha256(models.base_path(fixed.base)),
        "from_scratch": fixed.from_scratch, "profile": fixed.profile,
        "settings": dict(fixed.settings), "space": plan.space, "method": plan.method,
        "seed": fixed.seed,
    }  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(asked))
    return found


def forecast(plan: Plan, facts: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Give the time of one trial, times trials, over how many run side by side."""
    count = float(len(plan.points()))
    if plan.budget:
        affordable = plan.budget / max(1, facts["steps"])
        count = affordable if plan.open_ended else min(count, affordable)
    each = facts["trial_seconds"]
    return {
        "trial_seconds": each, "trial_steps": facts["steps"], "trials": round(count, 1),
        "jobs": width, "seconds": round(each * count / max(1, min(width, count)), 1),
    }  # fmt: skip
