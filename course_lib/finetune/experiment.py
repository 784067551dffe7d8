"""Comparisons over seeds: every arm, size and seed as a fine-tune, kept as its ``run.json``.

An experiment is a YAML file ``notebooks/experiments/NAME.yaml``; its results lie in
``notebooks/experiments/NAME/ARM.SIZE.SEED.json``. An arm is what ``recipe.finetune`` takes;
``first`` lists stages (``task``, ``data``, ``settings``) that its base goes through before.
What is there already is not run again, so an interrupted experiment goes on where it stopped.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, EnvironmentProblem, UnknownNameError, UsageError
from course_lib.finetune import baselines

KEYS = {"task", "data", "sizes", "seeds", "arms", "metric", "columns"}
NO_SHARES = {"loss", "perplexity", "bits_per_byte"}  # metrics that are not shown in percent


@dataclass(frozen=True)
class Cell:
    """One figure of an experiment's table.

    Attributes:
        arm: what was compared, such as ``"from scratch"`` or a baseline's name.
        size: training rows, or ``"all"``.
        values: the metric for each seed.
        mean: their mean; low, high: its 95% interval (Student's t over seeds; for a
            single seed the run's own bootstrap interval over test rows).
    """

    arm: str
    size: str
    values: tuple[float, ...]
    mean: float
    low: float
    high: float


def read_definition(name: str) -> dict[str, Any]:
    """Read and check ``notebooks/experiments/NAME.yaml``.

    Raises:
        UnknownNameError: when there is no such experiment, with close matches.
        DataError: when a key is missing or unknown.
    """
    folder = files.course_root() / "notebooks" / "experiments"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise UnknownNameError("experiment", name, [p.stem for p in folder.glob("*.yaml")])
    found = files.read_yaml(path)
    missing, unknown = {"task", "data", "arms", "metric"} - set(found), set(found) - KEYS
    if missing or unknown:
        raise DataError(
            "the experiment's keys are not right",
            where=str(path),
            got=f"missing {sorted(missing)}, unknown {sorted(unknown)}",
            expected=", ".join(sorted(KEYS)),
        )
    return {"sizes": ["all"], "seeds": [1, 2, 3, 4, 5], "columns": {}, **found}


def run_experiment(
    name: str,
    *,
    data: str | None = None,
    base: str = "embedded",
    jobs: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> list[Cell]:
    """Run what is missing of an experiment and give its table.

    Args:
        name: the experiment's name.
        data: a path that takes the place of the definition's data set (public sets
            are not shipped; give the folder or file where yours lies).
        base: the base model of every arm.
        jobs: runs side by side, each in a process of one thread; 1 runs here.
        say: gets one line a run.

    Raises:
        UsageError: for fewer jobs than one.
    """
    plan = read_definition(name)
    folder = files.course_root() / "notebooks" / "experiments" / name
    todo = [item for item in _cells(plan) if not (folder / _file_of(*item)).is_file()]
    if jobs < 1:
        raise UsageError("--jobs must be at least 1", got=str(jobs))

    def keep(item: tuple[str, Any, int], run: dict[str, Any]) -> None:
        files.write_json(folder / _file_of(*item), run)
        value = run["metrics"]["after"][plan["metric"]]
        arm, size, seed = item
        say(
            f"{arm}, {size} rows, seed {seed}: {plan['metric']} {value:.3f} "
            f"in {run['seconds']:.0f} s"
        )

    if jobs == 1:
        for item in todo:
            keep(item, _one_arm(plan, *item, data, base))
        return table(name)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_worker) as pool:
        runs = {pool.submit(_one_arm, plan, *item, data, base): item for item in todo}
        try:
            for done in as_completed(runs):
                keep(runs[done], done.result())
        except BrokenProcessPool:
            raise EnvironmentProblem(
                "a run was ended from outside, perhaps because memory ran out",
                where=str(folder),
                next_step="give the same command again, with fewer --jobs; finished runs are kept",
            ) from None
    return table(name)


def _cells(plan: Mapping[str, Any]) -> list[tuple[str, Any, int]]:
    """List every (arm, size, seed) of an experiment; full sets run on one seed only."""
    several = plan["sizes"] != ["all"]
    return [
        (arm, size, seed)
        for size in plan["sizes"]
        for seed in (plan["seeds"][:1] if size == "all" and several else plan["seeds"])
        for arm in plan["arms"]
    ]


def _file_of(arm: str, size: Any, seed: int) -> str:
    return f"{arm.replace(' ', '-')}.{size}.{seed}.json"


def _worker() -> None:
    """Use one thread, and end when the process that started this one is gone."""
    import torch

    torch.set_num_threads(1)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _one_arm(
    plan: Mapping[str, Any],
    arm: str,
    size: Any,
    seed: int,
    data: str | None,
    base: str,
) -> dict[str, Any]:
    """Run one arm at one size and seed in a folder of its own; give its run.json."""
    from course_lib.finetune.recipe import finetune
    from course_lib.finetune.staged import Stage, staged

    options = dict(plan["arms"][arm] or {})
    first = [Stage(**stage) for stage in options.pop("first", ())]
    settings = dict(options.pop("settings", {}))
    if size != "all":
        settings["train_rows"] = int(size)
    with tempfile.TemporaryDirectory(prefix="course-experiment-") as work:
        if first:
            staged(first, Path(work) / "first", base=base, seed=seed)
            base = str(max((Path(work) / "first").glob("*/model")))  # of the last stage
        run = finetune(
            plan["task"],
            data or plan["data"],
            base=base,
            seed=seed,
            settings=settings,
            out=Path(work) / "run",
            **plan["columns"],
            **options,
        )
    run["data"]["name"] = plan["data"]
    return run


def table(name: str) -> list[Cell]:
    """Summarise the results that are there: one cell for each arm or baseline and size."""
    plan = read_definition(name)
    folder = files.course_root() / "notebooks" / "experiments" / name
    cells: list[Cell] = []
    for size in plan["sizes"]:
        rivals: dict[str, list[Mapping[str, Any]]] = {}
        for place, arm in enumerate(plan["arms"]):
            paths = sorted(folder.glob(_file_of(arm, size, 0).replace(".0.", ".*.")))
            runs = [files.read_json(p) for p in paths]
            cells += _cell(arm, size, [r["metrics"]["after"] for r in runs], plan["metric"])
            for run in runs if place == 0 else []:
                for key, metrics in run["metrics"]["baselines"].items():
                    rivals.setdefault(key, []).append(metrics)
        for key, found in rivals.items():
            cells += _cell(key, size, found, plan["metric"])
    return cells


def by_size(cells: Sequence[Cell], whole: int) -> dict[str, list[tuple[int, float, float, float]]]:
    """Give each arm's ``(rows, mean, low, high)`` by rows, such as for a learning curve.

    Args:
        cells: of a table.
        whole: rows of the full training set, in the place of ``"all"``.
    """
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for c in cells:
        size = whole if c.size == "all" else int(c.size)
        found.setdefault(c.arm, []).append((size, c.mean, c.low, c.high))
    return {arm: sorted(line) for arm, line in found.items()}


def markdown(cells: Sequence[Cell], percent: bool = True) -> str:
    """Give an experiment's table as Markdown: one row an arm, one column a size.

    A figure over several seeds is shown as mean and 95% interval; of a single run the
    interval is the bootstrap over test rows, where its metric has one. Baselines stand
    there with the names of :data:`course_lib.finetune.baselines.NAMES`.
    """
    sizes = list(dict.fromkeys(c.size for c in cells))
    arms = list(dict.fromkeys(c.arm for c in cells))
    found = {(c.arm, c.size): c for c in cells}
    by = 100 if percent else 1

    def text(arm: str, size: str) -> str:
        cell = found.get((arm, size))
        if cell is None:
            return "-"
        if len(cell.values) == 1 and cell.low == cell.high:
            return f"{by * cell.mean:.1f}"
        return f"{by * cell.mean:.1f} [{by * cell.low:.1f}, {by * cell.high:.1f}]"

    head = "| | " + " | ".join(f"{size} rows" for size in sizes) + " |"
    lines = [head, "|---" * (len(sizes) + 1) + "|"]
    lines += [
        f"| {baselines.NAMES.get(arm, arm)} | " + " | ".join(text(arm, s) for s in sizes) + " |"
        for arm in arms
    ]
    return "\n".join(lines)


def _cell(arm: str, size: Any, found: Sequence[Mapping[str, Any]], metric: str) -> list[Cell]:
    kept = [m for m in found if metric in m]
    values = tuple(float(m[metric]) for m in kept)
    if not values:
        return []
    if len(values) == 1:
        low, high = kept[0].get(f"{metric}_interval", (values[0], values[0]))
        return [Cell(arm, str(size), values, values[0], float(low), float(high))]
    mean, low, high = mean_interval(values)
    return [Cell(arm, str(size), values, mean, low, high)]


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Give mean, low and high of Student's t interval over independent runs.

    Args:
        values: one figure a seed, at least two.
        level: coverage of the interval.
    """
    from scipy import stats

    count = len(values)
    mean = math.fsum(values) / count
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1) / count)
    half = float(stats.t.ppf(0.5 + level / 2, count - 1)) * spread
    return mean, mean - half, mean + half
