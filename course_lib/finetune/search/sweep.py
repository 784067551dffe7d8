"""Search for settings with Optuna: grid, random or TPE, side by side, resumable.

The validation rows decide. No trial sees the test rows; only the best trial's settings are
trained once more at the end and measured on them, once. A sweep lies in a folder:
``study.db`` (Optuna's storage), ``sweep.json`` (every trial), ``best/`` (a finished run).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError, EnvironmentProblem, Stopped
from course_lib.finetune import model as models
from course_lib.finetune import recipe
from course_lib.finetune.forecast import WORTH_TELLING
from course_lib.finetune.search import (
    search_space,
    sweep_plan,
    sweep_storage,
    sweep_trial,
    sweep_workers,
)
from course_lib.finetune.search.sweep_plan import Plan
from course_lib.finetune.search.sweep_results import Sweep, of_study, read_sweep
from course_lib.finetune.search.sweep_study import METHODS, Book
from course_lib.finetune.search.sweep_trial import Fixed

__all__ = ["METHODS", "Sweep", "read_sweep", "sweep"]
Say = Callable[[str], None]
MOST_LOST = 3  # times workers may be lost before the sweep gives up
MOST_FAILED = 5  # failed trials without one that succeeded


def sweep(
    task: str,
    data: str,
    space: Mapping[str, Any],
    *,
    method: str = "tpe",
    trials: int | None = None,
    budget: int = 0,
    prune: str = "median",
    jobs: int = 1,
    scheduler: str = "",
    storage: Any = None,
    out: Path | str | None = None,
    resume: bool = False,
    base: str = models.EMBEDDED,
    profile: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    head: str = "auto",
    from_scratch: bool = False,
    measure: bool = True,
    say: Say = lambda line: None,
) -> Sweep:
    """Search for the settings that do best on the validation rows.

    Args:
        task, data, base, profile, settings, text_column, label_column, head, from_scratch:
            as :func:`recipe.finetune` takes them; ``settings`` are the same in all trials.
        space: what to search (see :func:`search_space.parse`).
        method: ``tpe`` (tree-structured Parzen estimator, Bergstra et al. 2011),
            ``random``, or ``grid``: every point once, in seeded order.
        trials: how many; None for the whole grid, for 20, or for as many as the budget buys.
        budget: training steps, of all trials together, after which none begins; 0 = no limit.
        prune: end hopeless trials early: ``median``, ``hyperband`` or ``none``.
        jobs: trials side by side, each in a process of one thread; 1 runs here.
        scheduler: address of a Dask scheduler; trials are then tasks there, one a thread (start
            workers with one). Its workers must find ``data`` and ``base`` under the same names,
            its scheduler the sweep's folder or the storage's URL.
        storage: an Optuna storage or its URL; None for SQLite in the sweep's folder.
        out: the sweep's folder; None for ``runs/sweep-TASK-DATA-METHOD``.
        resume: go on with the sweep of that folder, or join it while another process runs it.
        seed: of the search and of every trial.
        measure: train the best settings again at the end and measure them on the test rows.
        say: gets the forecast, and a line a trial.

    Raises:
        UsageError: for a space, method or number that cannot be, or a sweep already there.
        EnvironmentProblem: when workers are lost again and again, or a cluster is away.
        CourseError: when no trial succeeds.
        Stopped: after Ctrl-C; finished trials are kept.
    """
    fixed = Fixed(
        task, data, base, profile, dict(settings or {}), text_column, label_column, seed, head,
        from_scratch,
    )  # fmt: skip
    folder = Path(out or Path("runs") / f"sweep-{task}-{Path(data).stem}-{method}").resolve()
    plan = Plan(fixed, dict(space), method, trials, budget, prune, jobs, scheduler, folder, say)
    plan.check(storage)
    with sweep_workers.cluster(scheduler) as client:
        runner = _Runner(plan, sweep_workers.storage_of(storage, folder, client), client)
        try:
            runner.begin(resume)
            runner.work()
            return runner.finish(measure)
        finally:
            runner.book.close()


class _Runner:
    """One process's part in a sweep: it takes slots and has them trained."""

    def __init__(self, plan: Plan, storage: Any, client: Any) -> None:
        self.plan, self.storage, self.client = plan, storage, client
        self.here = plan.jobs == 1 and client is None
        self.width = sum(client.nthreads().values()) if client else plan.jobs
        middle = search_space.middle(plan.space)
        facts = sweep_trial.probe(plan.fixed, middle, threads=0 if self.here else 1)
        self.metric = facts["metric"]
        self.forecast = sweep_plan.forecast(plan, facts, self.width)
        self.definition = sweep_plan.definition(plan, facts)
        self.pruner = sweep_storage.pruner_of(plan.prune, facts["evaluations"])
        self.book = Book(
            storage, plan.folder, plan.method, search_space.parse(plan.space), self.pruner,
            plan.fixed.seed,
        )  # fmt: skip
        self.mine: set[int] = set()

    def begin(self, resume: bool) -> None:
        """Begin or join, and say how long it will take."""
        accuracy = self.metric == "validation_accuracy"
        self.book.begin(
            self.definition,
            "maximize" if accuracy else "minimize",
            self.plan.points(),
            budget=self.plan.budget,
            resume=resume,
        )
        f = self.forecast
        if f["seconds"] > WORTH_TELLING:
            self.plan.say(
                f"forecast: {f['seconds'] / 60:.1f} minutes for {f['trials']:.0f} trials of about "
                f"{f['trial_seconds']:.0f} s, {f['jobs']} side by side, none ended early"
            )

    def work(self) -> None:
        """Train until no slot is left; lost workers are replaced, their trials run again."""
        for _ in range(MOST_LOST):
            try:
                with sweep_workers.executor(self.plan.jobs, self.client) as pool:
                    return self._drain(pool)
            except (KeyboardInterrupt, Stopped):
                raise Stopped(
                    "the sweep was stopped",
                    checkpoint=str(self.plan.folder),
                    next_step="go on with it by resume=True (--resume); finished trials are kept",
                ) from None
            except BrokenExecutor:
                self.plan.say("a worker was ended from outside; its trials are run again")
            except OSError as error:
                if self.client is None:
                    raise
                raise EnvironmentProblem(
                    "the Dask cluster is away", where=self.plan.scheduler,
                    got=type(error).__name__,
                    next_step="start it and go on by resume=True; finished trials are kept",
                ) from None  # fmt: skip
        raise EnvironmentProblem(
            "workers were ended from outside again and again, perhaps because memory ran out",
            where=str(self.plan.folder),
            next_step="go on by resume=True (--resume) with fewer jobs; finished trials are kept",
        )

    def _drain(self, pool: Executor) -> None:
        running: dict[Future[dict[str, Any]], int] = {}
        try:
            while True:
                while len(running) < self.width and (future := self._next(pool)):
                    running[future[0]] = future[1]
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    self._settle(running.pop(done), sweep_workers.result(done))
        finally:
            with suppress(OSError):  # a cluster that is away: the next resume releases them
                self.book.release(sorted(self.mine))
            self.mine.clear()

    def _next(self, pool: Executor) -> tuple[Future[dict[str, Any]], int] | None:
        if self.plan.open_ended:
            self.book.extend()
        claim = self.book.claim()
        if claim is None:
            return None
        self.mine.add(claim.number)
        shared = self.book.storage if self.here else self.storage
        if self.client is not None:
            shared = sweep_storage.OnCluster(self.storage.name)
        return pool.submit(
            sweep_workers.task, self.plan.fixed, claim.params, shared, self.book.name,
            claim.number, self.pruner, 0 if self.here else 1,
        ), claim.number  # fmt: skip

    def _settle(self, number: int, outcome: Mapping[str, Any]) -> None:
        self.book.settle(number, outcome)
        self.mine.discard(number)
        found = self._save()
        value = "no value" if outcome["value"] is None else f"{outcome['value']:.4f}"
        best = f"; best {found.best.value:.4f}" if found.best else ""
        why = f" ({outcome['reason']})" if outcome.get("reason") else ""
        self.plan.say(
            f"trial {number}, {outcome['state']}{why}: {self.metric.replace('_', ' ')} {value} "
            f"in {outcome['seconds']:.0f} s{best}; {len(found.finished)} done"
        )
        failed = [t for t in found.finished if t.state == "failed"]
        if len(failed) >= MOST_FAILED and len(failed) == len(found.finished):
            raise CourseError(
                f"the first {len(failed)} trials all failed",
                where=str(self.plan.folder), got=failed[-1].reason,
                next_step="try one of them with finetune to see what is wrong",
            )  # fmt: skip

    def _save(self, test: Mapping[str, Any] | None = None) -> Sweep:
        path = self.plan.folder / "sweep.json"
        with self.book.lock:
            trials = of_study(self.book.study.get_trials(deepcopy=False))
            found = Sweep(self.definition, self.metric, trials, self.forecast, test or {})
            if test is None and path.is_file():
                before = read_sweep(self.plan.folder)
                test = before.test if before.best == found.best else {}
            found = replace(found, test=test or {}, folder=self.plan.folder)
            files.write_json(path, found.as_json())
        return found

    def finish(self, measure: bool) -> Sweep:
        """Measure the best settings on the test rows, if this process ended the sweep."""
        from filelock import FileLock

        found = self._save()
        left = sum(t.state == "running" for t in found.trials)
        if left:
            self.plan.say(f"{left} trials still run in other processes; the last one measures")
            return found
        if found.best is None:
            reason = next((t.reason for t in found.trials if t.reason), "every trial was pruned")
            raise CourseError(
                "no trial was trained to its end", where=str(self.plan.folder), got=reason
            )
        if not measure:
            return found
        with FileLock(self.plan.folder / ".best.lock"):
            return self._save(_measured(self.plan, found.best.settings))


def _measured(plan: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the test metrics of the best settings' run in ``best/``, made unless it is there."""
    folder, fixed = plan.folder / "best", plan.fixed
    if (folder / "run.json").is_file():
        run = files.read_json(folder / "run.json")
        if all(run["settings"][k]["value"] == v for k, v in settings.items()):
            return dict(run["metrics"]["after"])
    run = recipe.finetune(
        fixed.task, fixed.data, base=fixed.base, profile=fixed.profile,
        settings={**fixed.settings, **settings}, out=folder, text_column=fixed.text_column,
        label_column=fixed.label_column, seed=fixed.seed, from_scratch=fixed.from_scratch,
        head=fixed.head, say=plan.say,
    )  # fmt: skip
    return dict(run["metrics"]["after"])
