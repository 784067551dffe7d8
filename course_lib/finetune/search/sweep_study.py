"""The books of a sweep: its trials in an Optuna storage, each handed out once.

Every trial of a sweep is a *slot*, queued when the sweep begins. A process takes a slot,
trains, and settles it. A slot whose process died is marked failed and queued again with
the same settings; it counts once, whatever happened. Slots are handed out under a file
lock: Optuna's ``ask`` alone gave 10 of 60 queued trials to two of four processes on SQLite.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from course_lib.errors import UsageError
from course_lib.finetune.search.sweep_storage import STARTUP, close_storage, open_storage, quiet

if TYPE_CHECKING:
    import optuna

METHODS = ("tpe", "random", "grid")


@dataclass(frozen=True)
class Claim:
    """A slot taken: the trial's number in the study and its settings."""

    number: int
    params: Mapping[str, Any]


class Book:
    """A sweep's trials: queue, claim, settle, release.

    Args:
        storage: an Optuna storage or its URL.
        folder: the sweep's folder; its name is the study's name, its lock orders the claims.
        method: ``tpe``, ``random`` or ``grid``.
        distributions: what :func:`search_space.parse` gives.
        pruner: what :func:`pruner_of` gives.
        seed: of the sampler; slot i draws the same in every process.
    """

    def __init__(
        self,
        storage: Any,
        folder: Path,
        method: str,
        distributions: Mapping[str, Any],
        pruner: optuna.pruners.BasePruner,
        seed: int,
    ) -> None:
        from filelock import FileLock

        self.folder, self.name = folder, folder.name
        self.method, self.distributions, self.pruner = method, dict(distributions), pruner
        self.seed, self.budget = seed, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / ".lock")
        with self.lock:  # tables are made by one process
            self.storage = open_storage(storage)
        self.study: Any = None
        self._given = storage

    def close(self) -> None:
        """End the connections this process opened; the storage stays as it is."""
        close_storage(self.storage, self._given)

    def begin(
        self,
        definition: Mapping[str, Any],
        direction: Literal["maximize", "minimize"],
        points: Sequence[Mapping[str, Any]],
        *,
        budget: int,
        resume: bool,
    ) -> None:
        """Create the study and queue its slots, or join one that was begun.

        Args:
            definition: what must be the same for the trials to be comparable.
            direction: ``maximize`` or ``minimize``.
            points: settings of each slot; empty where the sampler draws them.
            budget: training steps after which no slot is handed out; 0 sets no limit.
            resume: join a study that is there.

        Raises:
            UsageError: when it is there and ``resume`` is not given, or it searches another
                task, data set, base, space or method.
        """
        import optuna

        with self.lock, quiet():
            there = self.name in optuna.study.get_all_study_names(self.storage)
            if there and not resume:
                raise UsageError(
                    "a sweep of this name is there already",
                    where=str(self.folder),
                    next_step="go on with it by resume=True (--resume), or give another out",
                )
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                direction=direction,
                pruner=self.pruner,
                load_if_exists=True,
            )
            self._same(definition)
            self.budget = budget
            slots = {t.user_attrs["slot"] for t in self.study.get_trials(deepcopy=False)}
            for slot, point in enumerate(points):
                if slot not in slots:
                    self.study.enqueue_trial(dict(point), user_attrs={"slot": slot})

    def _same(self, definition: Mapping[str, Any]) -> None:
        before = self.study.user_attrs.get("definition")
        if before is None:
            self.study.set_user_attr("definition", dict(definition))
            return
        changed = [k for k in definition if definition[k] != before.get(k)]
        if changed:
            raise UsageError(
                f"this sweep was begun with another {', '.join(changed)}",
                where=str(self.folder),
                got="; ".join(f"{k} {definition[k]!r}"[:120] for k in changed),
                expected="; ".join(f"{k} {before.get(k)!r}"[:120] for k in changed),
                next_step="call it as it was begun, or give another out folder",
            )

    def claim(self) -> Claim | None:
        """Take the next slot; None when none is left or the budget is spent."""
        from optuna.trial import TrialState

        with self.lock, quiet():
            self._reap()
            trials = self.study.get_trials(deepcopy=False)
            if self.budget and spent(trials) >= self.budget:
                return None
            waiting = [t for t in trials if t.state == TrialState.WAITING]
            if not waiting:
                return None
            self.study.sampler = self._sampler(waiting[0].user_attrs["slot"])
            trial = self.study.ask(self.distributions)
            trial.set_user_attr("owner", _me())
            return Claim(trial.number, dict(trial.params))

    def extend(self) -> None:
        """Queue one more slot for the sampler (a sweep that is bounded by its budget alone)."""
        from optuna.trial import TrialState

        with self.lock, quiet():
            trials = self.study.get_trials(deepcopy=False)
            if not any(t.state == TrialState.WAITING for t in trials):
                slot = 1 + max((t.user_attrs["slot"] for t in trials), default=-1)
                self.study.enqueue_trial({}, user_attrs={"slot": slot})

    def _sampler(self, slot: int) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        seed = random.Random(f"{self.seed}/{slot}").randrange(2**31)
        if self.method == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        return samplers.RandomSampler(seed=seed)

    def settle(self, number: int, outcome: Mapping[str, Any]) -> None:
        """Write down what a trial came to (see :func:`sweep_trial.run`)."""
        with self.lock, quiet():
            self._settle(self.storage.get_trial(self._id(number)), outcome)

    def _settle(self, trial: optuna.trial.FrozenTrial, outcome: Mapping[str, Any]) -> None:
        from optuna.trial import TrialState

        if trial.state != TrialState.RUNNING:
            return  # given up for lost and queued again
        self.storage.set_trial_user_attr(trial._trial_id, "outcome", dict(outcome))
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        state = states.get(outcome["state"], TrialState.FAIL)
        value = outcome["value"] if state == TrialState.COMPLETE else None
        self.study.tell(trial.number, value, state=state)

    def release(self, numbers: Sequence[int]) -> None:
        """Mark running trials as lost and queue their slots again with the same settings."""
        with self.lock, quiet():
            for number in numbers:
                self._lose(self.storage.get_trial(self._id(number)))

    def _reap(self) -> None:
        """Release the trials of processes of this machine that are gone (within the lock)."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not alive(trial.user_attrs.get("owner")):
                self._lose(trial)

    def _lose(self, trial: optuna.trial.FrozenTrial) -> None:
        """Queue a lost trial's slot once more, then fail it; a kill in between does no harm."""
        from optuna.trial import TrialState

        if trial.state != TrialState.RUNNING:
            return
        if "outcome" in trial.user_attrs:  # killed after the work, before the last word
            self._settle(trial, trial.user_attrs["outcome"])
            return
        trials = self.study.get_trials(deepcopy=False)
        if not any(t.user_attrs.get("again") == trial.number for t in trials):
            self.study.enqueue_trial(
                trial.params or trial.system_attrs.get("fixed_params", {}),
                user_attrs={"slot": trial.user_attrs["slot"], "again": trial.number},
            )
        self.study.tell(trial.number, state=TrialState.FAIL)

    def _id(self, number: int) -> int:
        study_id = self.storage.get_study_id_from_name(self.name)
        found: int = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return found


def spent(trials: Sequence[optuna.trial.FrozenTrial]) -> int:
    """Give the training steps of all finished trials; a failed one counts as at least one."""
    done = [t.user_attrs["outcome"] for t in trials if "outcome" in t.user_attrs]
    return sum(max(1, int(o["steps"])) for o in done)


def _me() -> list[Any]:
    import psutil

    return [socket.gethostname(), os.getpid(), psutil.Process().create_time()]


def alive(owner: Sequence[Any] | None) -> bool:
    """Tell whether a trial's process lives; one of another machine is taken to."""
    import psutil

    if owner is None or len(owner) != 3:
        return False
    host, pid, born = owner
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
