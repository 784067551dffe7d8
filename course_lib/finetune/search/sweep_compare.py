"""Which search method is worth its steps: grid, random and TPE on the same budget."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.errors import UsageError
from course_lib.finetune.experiment import mean_interval
from course_lib.finetune.search.sweep import METHODS, sweep


@dataclass(frozen=True)
class Comparison:
    """Best-so-far curves of search methods.

    Attributes:
        metric: ``validation_accuracy`` or ``validation_loss``.
        budget: training steps each sweep could spend.
        curves: by method and seed, ``(trials done, steps spent, best value so far)`` after
            every trial, at most up to the budget.
        pruned: by method and seed, how many trials were ended early.
    """

    metric: str
    budget: int
    curves: Mapping[tuple[str, int], Sequence[tuple[int, int, float]]]
    pruned: Mapping[tuple[str, int], int]

    def at(self, method: str, count: int, by: str = "steps") -> tuple[float, ...]:
        """Give the best value each seed had after ``count`` training steps or ``trials``.

        A seed with no value by then is left out.
        """
        place = {"trials": 0, "steps": 1}[by]
        found = []
        for (name, _), curve in self.curves.items():
            values = [point[2] for point in curve if point[place] <= count]
            found += values[-1:] if name == method else []
        return tuple(found)

    def markdown(self, counts: Sequence[int], by: str = "steps") -> str:
        """Give one row a method, one column a count: mean over seeds and 95% interval.

        The interval is Student's t; of a single seed the value stands alone.
        """
        lines = ["| method | " + " | ".join(f"{c} {by}" for c in counts) + " |"]
        lines.append("|---" * (len(counts) + 1) + "|")
        for method in dict.fromkeys(name for name, _ in self.curves):
            cells = [_cell(self.at(method, c, by)) for c in counts]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else "-"
    mean, low, high = mean_interval(values)
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]"


def compare_methods(
    task: str,
    data: str,
    space: Mapping[str, Any],
    *,
    budget: int,
    methods: Sequence[str] = ("grid", "random", "tpe"),
    seeds: Sequence[int] = (0, 1, 2),
    out: Path | str | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Comparison:
    """Search the same space by several methods, each with the same number of training steps.

    A seed is that of the search and of its trials, the same for every method. The test rows
    are not looked at. A trial that ends beyond the budget does not count.

    Args:
        task, data, space: as :func:`sweep.sweep` takes them.
        budget: training steps of each sweep, all trials together.
        methods: two or more of ``grid``, ``random`` and ``tpe``.
        seeds: one sweep of each method a seed.
        out: keeps each sweep in ``METHOD-SEED/`` there, and goes on with those begun; None
            keeps none.
        say: gets the lines of every sweep.
        options: what else :func:`sweep.sweep` takes, such as ``base``, ``settings``, ``trials``.

    Raises:
        UsageError: for fewer than two methods, no seed or no budget.
    """
    if len(set(methods)) < 2 or not seeds or budget < 1:
        raise UsageError(
            "there is nothing to compare",
            got=f"methods {list(methods)}, seeds {list(seeds)}, budget {budget}",
            expected=f"at least two of {', '.join(METHODS)}, a seed and a budget of steps",
        )
    curves, pruned, metric = {}, {}, ""
    with tempfile.TemporaryDirectory(prefix="course-sweeps-") as temporary:
        for seed in seeds:
            for method in methods:
                folder = Path(out or temporary) / f"{method}-{seed}"
                found = sweep(
                    task, data, space, method=method, budget=budget, seed=seed, out=folder,
                    resume=True, measure=False, say=say, **options,
                )  # fmt: skip
                metric = found.metric
                curves[method, seed] = [p for p in found.curve() if p[1] <= budget]
                states = [t.state for t in found.finished]
                pruned[method, seed] = states.count("pruned")
    return Comparison(metric, budget, curves, pruned)
